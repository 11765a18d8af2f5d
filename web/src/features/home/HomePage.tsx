/** Home: who is live now, what waits for me, and the studies of the alliance. */
import { useEffect, useMemo, useRef, useState } from 'react';
import { useKeys } from '@/lib/keys';
import { may } from '@/lib/roles';
import type { Study } from '@/protocol/types';
import { LiveNow } from './LiveNow';
import { MyWork } from './MyWork';
import { RequestDialog } from './RequestDialog';
import { moveRow, focusedStudy } from './rows';
import { Studies } from './Studies';
import './home.css';

/** Scroll to the part that the address names (`/#studies`), now and when it changes. */
function useAnchor(): void {
  useEffect(() => {
    const show = () => {
      const name = location.hash.slice(1);
      if (name !== 'live' && name !== 'studies') return;
      const section = document.getElementById(name);
      section?.scrollIntoView({ block: 'start' });
      (section?.querySelector<HTMLElement>('[data-row]') ?? section)?.focus({ preventScroll: true });
    };
    show();
    addEventListener('hashchange', show);
    addEventListener('pushState', show);
    return () => {
      removeEventListener('hashchange', show);
      removeEventListener('pushState', show);
    };
  }, []);
}

type Request = { study: Study | null } | null;

export default function HomePage() {
  const [request, setRequest] = useState<Request>(null);
  const [reload, setReload] = useState(0);
  const root = useRef<HTMLDivElement>(null);
  const mayRequest = may('consult.request');
  useAnchor();
  const keys = useMemo(
    () => ({
      j: () => moveRow(root.current, 1),
      k: () => moveRow(root.current, -1),
      '/': () => root.current?.querySelector<HTMLInputElement>('#study-search')?.focus(),
      r: () => setReload((n) => n + 1),
      ...(mayRequest ? { c: () => setRequest({ study: focusedStudy() }) } : {}),
    }),
    [mayRequest],
  );
  useKeys(keys);
  return (
    <div className="page home" ref={root}>
      <LiveNow reloadTurn={reload} />
      <div className="home-split" data-single={!may('consult.read') || !may('study.read') || undefined}>
        {may('consult.read') && (
          <MyWork reloadTurn={reload} onRequest={mayRequest ? () => setRequest({ study: null }) : null} />
        )}
        {may('study.read') && (
          <Studies reloadTurn={reload} onConsult={mayRequest ? (study) => setRequest({ study }) : null} />
        )}
      </div>
      {request && <RequestDialog study={request.study} onClose={() => setRequest(null)} />}
    </div>
  );
}
