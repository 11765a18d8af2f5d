/** The end of a list with more pages: loads the next one when it comes near, or when pressed. */
import { useEffect, useRef } from 'react';
import { t } from '@/lib/i18n/app';
import { Button } from './base';
import './more.css';

export function MoreRows({ more, busy }: { more: () => void; busy: boolean }) {
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!end.current || typeof IntersectionObserver === 'undefined') return;
    const watch = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && more(), {
      rootMargin: '300px',
    });
    watch.observe(end.current);
    return () => watch.disconnect();
  }, [more]);
  return (
    <div className="more" ref={end}>
      <Button variant="quiet" busy={busy} onClick={more}>
        {busy ? t('state.loading') : t('action.more')}
      </Button>
    </div>
  );
}
