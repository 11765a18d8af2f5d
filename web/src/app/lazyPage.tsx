/** A page that is loaded when it is first shown; a failed load has words and a way to try again. */
import { useEffect, useState, type ComponentType } from 'react';
import { t } from '@/lib/i18n/app';
import { Button, Notice, Skeleton } from '@/kit/base';

type Loader<P> = () => Promise<{ default: ComponentType<P> }>;

export function PageSkeleton() {
  return (
    <div className="page stack" aria-busy="true" aria-label={t('state.loading')}>
      <Skeleton share={28} />
      <Skeleton share={90} />
      <Skeleton share={74} />
      <Skeleton share={82} />
    </div>
  );
}

export function lazyPage<P extends object>(load: Loader<P>): ComponentType<P> {
  let loaded: ComponentType<P> | null = null;
  return function LazyPage(props: P) {
    const [, setTurn] = useState(0);
    const [failed, setFailed] = useState(false);
    const get = () => {
      setFailed(false);
      load().then(
        (module) => {
          loaded = module.default;
          setTurn((n) => n + 1);
        },
        () => setFailed(true),
      );
    };
    useEffect(() => {
      if (!loaded) get();
    }, []);
    if (loaded) {
      const Page = loaded;
      return <Page {...props} />;
    }
    if (!failed) return <PageSkeleton />;
    return (
      <div className="page">
        <Notice tone="bad" title={t('problem.page_load')} action={<Button onClick={get}>{t('action.retry')}</Button>}>
          {t('problem.page_load.cause')}
        </Notice>
      </div>
    );
  };
}
