/** Who did what, to whom, when: the audit trail with filters, and whether its chain is whole. */
import { useState } from 'react';
import { Button, Chip, Empty, Notice, ProblemNotice, Skeleton, type Tone } from '@/kit';
import { MoreRows } from '@/kit/MoreRows';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { usePages, useSettled } from '@/lib/pages';
import { useResource } from '@/lib/resource';
import { dateTime } from '@/lib/when';
import type { AuditChain, AuditEntry } from '@/protocol/types';
import './audit.css';

const OUTCOMES = ['success', 'denied', 'failure'] as const;
const TONE: Record<AuditEntry['outcome'], Tone> = { success: 'ok', denied: 'bad', failure: 'warn' };
const COLUMNS = ['seq', 'time', 'actor', 'action', 'outcome', 'about', 'hash'] as const;

interface Filter {
  actor: string;
  action: string;
  patient_id: string;
  outcome: string;
}
const ANY: Filter = { actor: '', action: '', patient_id: '', outcome: '' };

function ChainState() {
  const { resource, value, reload } = useResource('chain', (signal) =>
    api.get<AuditChain>('/api/v1/audit/verify', { signal, timeout_s: 60 }),
  );
  if (resource.kind === 'failed') return <ProblemNotice problem={resource.problem} onRetry={reload} />;
  if (!value) return <Notice>{t('audit.chain.checking')}</Notice>;
  if (value.ok) {
    return (
      <Notice
        tone="ok"
        action={
          <Button icon="refresh" onClick={reload}>
            {t('audit.chain.again')}
          </Button>
        }
      >
        {t('audit.chain.ok', { n: value.entries })}
      </Notice>
    );
  }
  return (
    <div className="chain-broken" role="alert">
      <strong>{t('audit.chain.broken', { n: value.first_bad_seq ?? 0 })}</strong>
      <p>{t('audit.chain.broken.text')}</p>
      {value.first_bad_seq !== null && (
        <a className="btn" href={`#entry-${value.first_bad_seq}`}>
          {t('audit.chain.show', { n: value.first_bad_seq })}
        </a>
      )}
    </div>
  );
}

function Filters({ filter, onChange }: { filter: Filter; onChange: (filter: Filter) => void }) {
  return (
    <div className="audit-filters" role="search">
      {(['actor', 'action', 'patient_id'] as const).map((name) => (
        <input
          key={name}
          className="input"
          type="search"
          autoComplete="off"
          spellcheck={false}
          aria-label={t(`audit.${name}`)}
          placeholder={t(`audit.${name}`)}
          value={filter[name]}
          onInput={(event) => onChange({ ...filter, [name]: event.currentTarget.value })}
        />
      ))}
      <select
        className="input"
        aria-label={t('audit.outcome')}
        value={filter.outcome}
        onChange={(event) => onChange({ ...filter, outcome: event.currentTarget.value })}
      >
        <option value="">{t('audit.outcome.any')}</option>
        {OUTCOMES.map((outcome) => (
          <option key={outcome} value={outcome}>
            {t(`audit.outcome.${outcome}`)}
          </option>
        ))}
      </select>
    </div>
  );
}

function Entry({ entry }: { entry: AuditEntry }) {
  const detail = typeof entry.detail === 'string' ? entry.detail : entry.detail ? JSON.stringify(entry.detail) : '';
  return (
    <tr id={`entry-${entry.seq}`} data-outcome={entry.outcome}>
      <td className="num faint">{entry.seq}</td>
      <td className="num">
        <time dateTime={entry.time}>{dateTime(entry.time)}</time>
      </td>
      <td>
        <strong>{entry.actor_name || entry.actor}</strong>
        {entry.role && <span className="faint small"> {entry.role}</span>}
      </td>
      <td className="mono">{entry.action}</td>
      <td>
        <Chip tone={TONE[entry.outcome]}>{t(`audit.outcome.${entry.outcome}`)}</Chip>
      </td>
      <td>
        {entry.patient_id && <span className="num">{entry.patient_id} </span>}
        {entry.subject && <span className="faint mono small audit-subject">{entry.subject}</span>}
        {detail && <span className="soft small audit-detail">{detail}</span>}
      </td>
      <td className="mono faint small" title={entry.hash}>
        {entry.hash.slice(0, 10)}
      </td>
    </tr>
  );
}

function Trail({ filter, onClear }: { filter: Filter; onClear: () => void }) {
  const settled = useSettled(filter);
  const query = {
    actor: settled.actor.trim(),
    action: settled.action.trim(),
    patient_id: settled.patient_id.trim(),
    outcome: settled.outcome,
  };
  const list = usePages<AuditEntry>('/api/v1/audit', query, (entry) => String(entry.seq));
  return (
    <>
      {list.problem && (
        <div className="panel-body">
          <ProblemNotice problem={list.problem} onRetry={list.reload} />
        </div>
      )}
      {!list.items && list.busy && (
        <div className="panel-body stack" aria-busy="true" aria-label={t('state.loading')}>
          <Skeleton share={90} />
          <Skeleton share={84} />
          <Skeleton share={88} />
        </div>
      )}
      {list.items?.length === 0 && (
        <Empty icon="audit" title={t('audit.none')} action={<Button onClick={onClear}>{t('studies.clear')}</Button>}>
          {t('audit.none.text')}
        </Empty>
      )}
      {list.items && list.items.length > 0 && (
        <div className="audit-scroll" tabIndex={0} role="region" aria-label={t('audit.title')}>
          <table className="audit-table" data-busy={list.busy || undefined}>
            <thead>
              <tr>
                {COLUMNS.map((name) => (
                  <th key={name} scope="col">
                    {t(`audit.${name}`)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {list.items.map((entry) => (
                <Entry key={entry.seq} entry={entry} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.more && <MoreRows more={list.more} busy={list.loadingMore} />}
    </>
  );
}

export default function AuditPage() {
  const [filter, setFilter] = useState<Filter>(ANY);
  return (
    <div className="page stack audit-page">
      <header className="page-head">
        <h1>{t('audit.title')}</h1>
      </header>
      <ChainState />
      <section className="panel audit-panel">
        <Filters filter={filter} onChange={setFilter} />
        <Trail filter={filter} onClear={() => setFilter(ANY)} />
      </section>
    </div>
  );
}
