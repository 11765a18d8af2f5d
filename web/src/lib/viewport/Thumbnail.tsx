/** A small server-rendered picture of a series or an instance; the object URL lives as long as the element. */
import { useEffect, useRef, useState } from 'react';
import { Icon } from '@/kit';
import { fetchBlob } from '@/lib/api';

export function Thumbnail({ path }: { path: string }) {
  const holder = useRef<HTMLSpanElement>(null);
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    let made: string | null = null;
    const load = () =>
      fetchBlob(path, { signal: stop.signal, headers: { accept: 'image/jpeg' } }).then(
        (blob) => {
          made = URL.createObjectURL(blob);
          if (stop.signal.aborted) URL.revokeObjectURL(made);
          else setUrl(made);
        },
        () => undefined, // the icon stays: a thumbnail is only a help, its series opens all the same
      );
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      void load();
    });
    if (holder.current) seen.observe(holder.current);
    return () => {
      seen.disconnect();
      stop.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [path]);
  return (
    <span className="thumb" ref={holder}>
      {url ? <img src={url} alt="" draggable={false} /> : <Icon name="image" />}
    </span>
  );
}
