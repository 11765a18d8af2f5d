/** The quarantine desk: what waits for a person, newest first, and what was decided. */
import { useState } from 'react';
import { Link } from 'wouter';
import { Chip, Empty, ProblemNotice, Segmented, Skeleton } from '@/kit';
import { MoreRows } from '@/kit/MoreRows';
import { t } from '@/lib/i18n/app';
import { personName } from '@/lib/names';
import { usePages } from '@/lib/pages';
import { personFromPn } from '@/lib/pn';
import { dateTime } from '@/lib/when';
import { DESK, STATES, type Held, type HeldState } from './held';
import { HeldPage } from './HeldPage';
import { w } from './words';
import './quarantine.css';

function Row({ entry }: { entry: Held }) {
  const name = personName(personFromPn(entry.identity['patient_name'] ?? ''));
  return (
    <li>
      <Link href={`/quarantine/${entry.id}`} className="held-row">
        <span className="held-who">
          <strong>{name.first || w('nobody')}</strong>
          {name.second && <span className="soft"> {name.second}</span>}
          <span className="faint small num">{entry.identity['patient_id']}</span>
        </span>
        <span className="held-what">
          {[entry.modality, entry.identity['study_description']].filter(Boolean).join(' · ')}
          <span className="faint small">{dateTime(entry.held_at)}</span>
        </span>
        <span className="held-why">
          {entry.reasons.map((code) => (
            <Chip key={code} tone="warn">
              {code}
            </Chip>
          ))}
          {entry.proposed_by && <Chip tone="info">{w('proposed')}</Chip>}
        </span>
      </Link>
    </li>
  );
}

/** The list, or with an id one object of it. */
export default function QuarantinePage({ id }: { id?: string | undefined }) {
  return id ? <HeldPage id={id} /> : <HeldList />;
}

function HeldList() {
  const [state, setState] = useState<HeldState>('held');
  const list = usePages<Held>(DESK, { state }, (entry) => entry.id, { on: ['quarantine.changed'] });
  return (
    <div className="page stack">
      <header className="page-head">
        <h1>{w('title')}</h1>
        <span className="grow" />
        <Segmented
          label={w('state')}
          options={STATES.map((value) => ({ value, label: w(`state_${value}`) }))}
          value={state}
          onChange={setState}
        />
      </header>
      <p className="soft">{w('text')}</p>
      <section className="panel" data-testid="held-list">
        {list.problem && (
          <div className="panel-body">
            <ProblemNotice problem={list.problem} onRetry={list.reload} />
          </div>
        )}
        {!list.items && list.busy && (
          <div className="panel-body stack" aria-busy="true" aria-label={t('state.loading')}>
            <Skeleton share={90} />
            <Skeleton share={84} />
          </div>
        )}
        {list.items?.length === 0 && (
          <Empty icon="check" title={w(state === 'held' ? 'none_held' : 'none')}>
            {state === 'held' ? w('none_held_text') : undefined}
          </Empty>
        )}
        {list.items && list.items.length > 0 && (
          <ul className="held-list" data-busy={list.busy || undefined}>
            {list.items.map((entry) => (
              <Row key={entry.id} entry={entry} />
            ))}
          </ul>
        )}
        {list.more && <MoreRows more={list.more} busy={list.loadingMore} />}
      </section>
    </div>
  );
}
