/** The report: images left, text in the middle, versions right. Saved by itself, locked by a signature. */
import { useRef } from 'react';
import { Link } from 'wouter';
import { Icon, PatientBanner, ProblemNotice, Skeleton } from '@/kit';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { useResource } from '@/lib/resource';
import type { Report } from '@/protocol/types';
import { ReportDesk } from './ReportDesk';
import { leftReport, reportPath } from './desk';
import './report.css';

export default function ReportPage({ id }: { id: string }) {
  const latest = useRef<Report | null>(null);
  const {
    resource,
    value: read,
    reload,
    set,
  } = useResource(id, (signal) => api.get<Report>(reportPath(id), { signal }), {
    on: ['report.changed'],
    subject: id,
    // One's own saves come back as events. An addendum leaves the version as it is, so a signed report is always read.
    known: ({ data }) => data['state'] !== 'signed' && Number(data['version']) <= (latest.current?.version ?? -1),
  });
  latest.current = read;
  const value = read ?? leftReport(id);
  return (
    <div className="page report">
      {value ? (
        <Link href={`/consultations/${encodeURIComponent(value.consultation_id)}`} className="back soft small">
          <Icon name="back" />
          {t('consultation.title')}
        </Link>
      ) : (
        <Link href="/" className="back soft small">
          <Icon name="back" />
          {t('nav.home')}
        </Link>
      )}
      {resource.kind === 'failed' && <ProblemNotice problem={resource.problem} onRetry={reload} />}
      {value && (
        <>
          <PatientBanner patient={value.patient} />
          <ReportDesk fresh={value} onSaved={set} />
        </>
      )}
      {!value && resource.kind === 'loading' && (
        <div className="stack" aria-busy="true" aria-label={t('state.loading')}>
          <Skeleton share={70} />
          <Skeleton share={100} />
          <Skeleton share={90} />
        </div>
      )}
    </div>
  );
}
