/** The routes. Addresses hold opaque ids only; the title never names a patient. */
import { Route, Switch, useLocation } from 'wouter';
import { useEffect } from 'react';
import { auth } from '@/lib/auth';
import { t } from '@/lib/i18n/app';
import { Button, Empty } from '@/kit/base';
import { ProblemNotice } from '@/kit/ProblemNotice';
import { Toasts } from '@/kit/Toasts';
import { lazyPage, PageSkeleton } from './lazyPage';
import { Shell } from './Shell';
import { startProblem } from './start';

const HomePage = lazyPage(() => import('@/features/home/HomePage'));
const SignInPage = lazyPage(() => import('@/features/signin/SignInPage'));
const ConsultationPage = lazyPage<{ id: string }>(() => import('@/features/consultation/ConsultationPage'));
const RoomPage = lazyPage<{ id: string }>(() => import('@/features/room/RoomPage'));
const ViewerPage = lazyPage<{ reference: string }>(() => import('@/features/viewer/ViewerPage'));
const ReportPage = lazyPage<{ id: string }>(() => import('@/features/report/ReportPage'));
const SitesPage = lazyPage(() => import('@/features/sites/SitesPage'));
const QuarantinePage = lazyPage<{ id?: string | undefined }>(() => import('@/features/quarantine/QuarantinePage'));
const AuditPage = lazyPage(() => import('@/features/audit/AuditPage'));

function Lost() {
  const [, go] = useLocation();
  return (
    <div className="page">
      <Empty
        icon="search"
        title={t('lost.title')}
        action={
          <Button variant="primary" onClick={() => go('/')}>
            {t('lost.home')}
          </Button>
        }
      >
        {t('lost.text')}
      </Empty>
    </div>
  );
}

function Pages() {
  return (
    <Switch>
      <Route path="/">{() => <HomePage />}</Route>
      <Route path="/consultations/:id">{({ id }) => <ConsultationPage key={id} id={id} />}</Route>
      <Route path="/rooms/:id">{({ id }) => <RoomPage key={id} id={id} />}</Route>
      <Route path="/studies/:reference">
        {({ reference }) => <ViewerPage key={reference} reference={reference} />}
      </Route>
      <Route path="/reports/:id">{({ id }) => <ReportPage key={id} id={id} />}</Route>
      <Route path="/sites">{() => <SitesPage />}</Route>
      <Route path="/quarantine/:id?">{({ id }) => <QuarantinePage key={id} id={id} />}</Route>
      <Route path="/audit">{() => <AuditPage />}</Route>
      <Route>{() => <Lost />}</Route>
    </Switch>
  );
}

function Body() {
  const [path, go] = useLocation();
  const state = auth.value;
  const atSignIn = path === '/sign-in';
  useEffect(() => {
    if (state.kind === 'in' && atSignIn) go('/', { replace: true });
  }, [state.kind, atSignIn, go]);
  switch (state.kind) {
    case 'unknown':
      return startProblem.value ? (
        <div className="page">
          <ProblemNotice problem={startProblem.value} onRetry={() => location.reload()} />
        </div>
      ) : (
        <PageSkeleton />
      );
    case 'out':
      return <SignInPage />; // in place: after signing in, the page that was asked for opens
    case 'in':
      return atSignIn ? (
        <PageSkeleton />
      ) : (
        <Shell>
          <Pages />
        </Shell>
      );
  }
}

export function App() {
  return (
    <>
      <Body />
      <Toasts />
    </>
  );
}
