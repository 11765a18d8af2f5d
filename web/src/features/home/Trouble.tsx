/** Why a list of the home page is not fresh: the problem, or, when an older list stands below, how old that is. */
import { Button, Notice, ProblemNotice } from '@/kit';
import { problemTitle } from '@/kit/ProblemNotice';
import { t } from '@/lib/i18n/app';
import type { Resource } from '@/lib/resource';
import { clock } from '@/lib/when';

export function Trouble({ resource, onRetry }: { resource: Resource<unknown>; onRetry: () => void }) {
  if (resource.kind !== 'failed') return null;
  if (!resource.stale) return <ProblemNotice problem={resource.problem} onRetry={onRetry} />;
  return (
    <Notice
      tone="warn"
      title={t('state.stale', { time: clock(resource.stale.at) })}
      action={
        <Button icon="refresh" onClick={onRetry}>
          {t('action.retry')}
        </Button>
      }
    >
      {problemTitle(resource.problem)}
    </Notice>
  );
}
