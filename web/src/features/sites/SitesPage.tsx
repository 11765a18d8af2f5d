/** Sites and their devices: who is there, what each device says, what still waits to be uploaded; enrol and revoke. */
import { useState } from 'react';
import { Button, Empty, ProblemNotice, Skeleton } from '@/kit';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { useNow } from '@/lib/now';
import { useResource } from '@/lib/resource';
import { may } from '@/lib/roles';
import type { Page, Site } from '@/protocol/types';
import { EnrolDialog } from './EnrolDialog';
import { SiteCard } from './SiteCard';
import './sites.css';

export default function SitesPage() {
  const now = useNow();
  const [enrolling, setEnrolling] = useState(false);
  const { resource, value, reload } = useResource(
    'sites',
    (signal) => api.get<Page<Site>>('/api/v1/sites', { signal }),
    {
      on: ['site.changed'],
    },
  );
  const sites = value?.items ?? [];
  const mayManage = may('site.manage');
  const enrol = mayManage && (
    <Button variant="primary" icon="plus" onClick={() => setEnrolling(true)}>
      {t('sites.add')}
    </Button>
  );
  return (
    <div className="page">
      <header className="page-head">
        <h1>{t('sites.title')}</h1>
        {value && (
          <span className="soft">
            {t('sites.count', { online: sites.filter((site) => site.online).length, n: sites.length })}
          </span>
        )}
        <span className="grow" />
        {enrol}
      </header>
      {resource.kind === 'failed' && <ProblemNotice problem={resource.problem} onRetry={reload} />}
      {!value && resource.kind === 'loading' && (
        <div className="site-grid" aria-busy="true" aria-label={t('state.loading')}>
          {[0, 1].map((n) => (
            <div key={n} className="panel panel-body stack">
              <Skeleton share={50} />
              <Skeleton share={80} />
              <Skeleton share={65} />
            </div>
          ))}
        </div>
      )}
      {value && sites.length === 0 && (
        <div className="panel">
          <Empty icon="sites" title={t('sites.empty')} action={enrol}>
            {t(mayManage ? 'sites.empty.manage' : 'sites.empty.text')}
          </Empty>
        </div>
      )}
      <div className="site-grid">
        {sites.map((site) => (
          <SiteCard key={site.id} site={site} now={now} onChanged={reload} />
        ))}
      </div>
      {enrolling && (
        <EnrolDialog
          site={null}
          onClose={() => {
            setEnrolling(false);
            reload();
          }}
        />
      )}
    </div>
  );
}
