/** A problem in words: what happened, why, who can mend it, what to do next, and the reference to read out. */
import { t, type MessageKey } from '@/lib/i18n/app';
import { reference, type Mend, type Problem } from '@/lib/problem';
import { sentence } from '@/lib/problemWords';
import { Button, Notice } from './base';

const MEND: Record<Mend, MessageKey> = {
  caller: 'problem.mend.caller',
  operator: 'problem.mend.operator',
  admin: 'problem.mend.admin',
  retry: 'problem.mend.retry',
  vendor: 'problem.mend.vendor',
};

/** The headline for each kind of problem. */
export function problemTitle(problem: Problem): string {
  switch (problem.kind) {
    case 'offline':
      return t('problem.offline');
    case 'timeout':
      return t('problem.timeout');
    case 'unauthenticated':
      return t('problem.unauthenticated');
    case 'denied':
      return t('problem.denied');
    case 'missing':
      return t('problem.missing');
    case 'conflict':
      return t('problem.conflict');
    case 'invalid':
      return t('problem.invalid');
    case 'busy':
      return t('problem.busy');
    case 'server':
      return t('problem.server');
  }
}

function cause(problem: Problem): string {
  switch (problem.kind) {
    case 'offline':
      return t('problem.offline.cause');
    case 'timeout':
      return t('problem.timeout.cause', { n: problem.after_s });
    case 'busy':
      return `${sentence(problem.problem)} ${t('problem.busy.wait', { n: Math.ceil(problem.retry_after_s) })}`;
    default:
      return sentence(problem.problem);
  }
}

export function ProblemNotice({ problem, onRetry }: { problem: Problem; onRetry?: (() => void) | undefined }) {
  const document = 'problem' in problem ? problem.problem : null;
  const id = reference(problem);
  return (
    <Notice
      tone={problem.kind === 'offline' || problem.kind === 'busy' ? 'warn' : 'bad'}
      title={problemTitle(problem)}
      action={
        onRetry && (
          <Button icon="refresh" onClick={onRetry}>
            {t('action.retry')}
          </Button>
        )
      }
    >
      <p>{cause(problem)}</p>
      {document?.mend && <p className="soft">{t(MEND[document.mend])}</p>}
      {document && (
        <p className="faint small mono">
          {document.code}
          {id && ` · ${t('problem.reference')} ${id}`}
        </p>
      )}
    </Notice>
  );
}
