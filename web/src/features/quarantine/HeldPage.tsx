/** One held object: why, beside what the archive knows, the proposal that waits, and what may be done. */
import { useState } from 'react';
import { Link } from 'wouter';
import { Button, Chip, Icon, Notice, PatientBanner, ProblemNotice, Skeleton, type Tone } from '@/kit';
import { useAction } from '@/lib/action';
import { api } from '@/lib/api';
import { user } from '@/lib/auth';
import { t } from '@/lib/i18n/app';
import { personFromPn } from '@/lib/pn';
import { useResource } from '@/lib/resource';
import { may } from '@/lib/roles';
import { bytes } from '@/lib/units';
import { calendarDate, dateTime } from '@/lib/when';
import type { Sex } from '@/protocol/types';
import { ActDialog } from './ActDialog';
import { DESK, said, withdraw, type Act, type Finding, type HeldState, type HeldWhole } from './held';
import { isWord, w, type Word } from './words';

const TONE: Record<HeldState, Tone> = { held: 'warn', released: 'ok', rejected: 'bad' };
const mend = (finding: Finding) => `mend_${finding.mend}`;

function Findings({ findings, holding }: { findings: Finding[]; holding: readonly string[] }) {
  return (
    <ul className="held-findings">
      {findings.map((finding, at) => (
        <li key={at}>
          <Chip tone={holding.includes(finding.code) ? 'warn' : 'neutral'}>{finding.level}</Chip>
          <span className="grow">
            {said(finding)}
            <span className="faint small">
              <span className="mono">{[finding.code, finding.tag_path].filter(Boolean).join(' · ')}</span>
              {isWord(mend(finding)) && <> · {w(mend(finding) as Word)}</>}
            </span>
          </span>
        </li>
      ))}
    </ul>
  );
}

function shown(field: string, value: string | null): string {
  if (value === null) return '';
  if (value === '') return w('empty');
  return field.endsWith('_date') ? calendarDate(value) : value;
}

function Comparison({ entry }: { entry: HeldWhole }) {
  const { comparison } = entry;
  const known = comparison.study_uid !== null;
  const proposed = comparison.facts.some((fact) => fact.proposed !== null);
  const word: Word = !known ? 'comparison_nobody' : comparison.same_study ? 'comparison_same' : 'comparison_patient';
  return (
    <section className="panel">
      <header className="panel-head">
        <h2>{w('comparison')}</h2>
        {known && may('study.read') && (
          <Link href={`/studies/${comparison.study_uid}`} className="btn btn-quiet">
            {w('open_study')}
          </Link>
        )}
      </header>
      <p className="panel-body soft">{w(word)}</p>
      <table className="held-facts">
        <thead>
          <tr>
            <th scope="col">{w('field')}</th>
            <th scope="col">{w('this_object')}</th>
            {known && <th scope="col">{w('archive')}</th>}
            {proposed && <th scope="col">{w('after')}</th>}
          </tr>
        </thead>
        <tbody>
          {comparison.facts.map((fact) => (
            <tr key={fact.field} data-differs={fact.same === false || undefined}>
              <th scope="row">{w(fact.field as Word)}</th>
              <td>
                {shown(fact.field, fact.held)}
                {fact.same === false && <Chip tone="warn">{w('differs')}</Chip>}
              </td>
              {known && <td>{shown(fact.field, fact.archived)}</td>}
              {proposed && <td>{fact.proposed !== null && <strong>{shown(fact.field, fact.proposed)}</strong>}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Proposal({ entry }: { entry: HeldWhole }) {
  const { proposal } = entry;
  if (!proposal) return null;
  const parts = [
    ['mended', proposal.difference.mended],
    ['brings', proposal.difference.new],
    ['stays', proposal.difference.kept],
  ] as const;
  return (
    <section className="panel">
      <header className="panel-head">
        <h2>{w(entry.state === 'held' ? 'proposal' : 'proposal_was')}</h2>
      </header>
      <div className="panel-body stack">
        <p>{w('proposal_by', { who: proposal.name, time: dateTime(proposal.at), reason: proposal.reason })}</p>
        {proposal.changes['character_set'] && (
          <p>
            {w('character_set')}: <span className="mono">{proposal.changes['character_set']}</span> ·{' '}
            {proposal.shown['patient_name']}
          </p>
        )}
        {parts.map(
          ([word, findings]) =>
            findings.length > 0 && (
              <div key={word}>
                <h3 className="held-part">{w(word)}</h3>
                <Findings findings={findings} holding={word === 'brings' ? findings.map((one) => one.code) : []} />
              </div>
            ),
        )}
      </div>
    </section>
  );
}

function Facts({ entry }: { entry: HeldWhole }) {
  const facts: [Word, string][] = [
    ['when', dateTime(entry.held_at)],
    ['origin', Object.values(entry.origin).filter(Boolean).join(' · ')],
    ['modality', entry.modality],
    ['size', bytes(entry.size_bytes)],
    ['uid', entry.sop_instance_uid],
  ];
  return (
    <dl className="held-about">
      {facts.map(([word, value]) => (
        <div key={word}>
          <dt>{w(word)}</dt>
          <dd className={word === 'uid' ? 'mono small' : undefined}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Decide({ entry, onChanged }: { entry: HeldWhole; onChanged: () => void }) {
  const [kind, setKind] = useState<Act['kind'] | null>(null);
  const { busy, problem, run } = useAction();
  const open = entry.state === 'held';
  if (!may('quarantine.decide') || (!open && kind === null)) return null; // an act on many outlives the first one's decision
  const own = entry.proposal !== null && entry.proposal.by === user.value?.id;
  return (
    <div className="stack">
      {own && open && <Notice>{w('own_proposal')}</Notice>}
      {problem && <ProblemNotice problem={problem} />}
      {open && (
        <div className="held-actions">
          <Button variant="primary" icon="check" disabled={own} onClick={() => setKind('release')}>
            {w(entry.proposal ? 'release_corrected' : 'release')}
          </Button>
          <Button icon="pen" onClick={() => setKind('propose')}>
            {w('propose')}
          </Button>
          {entry.proposal && (
            <Button
              busy={busy}
              onClick={() =>
                void run(async () => {
                  await withdraw(entry);
                  onChanged();
                })
              }
            >
              {w('withdraw')}
            </Button>
          )}
          <span className="grow" />
          <Button variant="danger" icon="close" onClick={() => setKind('reject')}>
            {w('reject')}
          </Button>
        </div>
      )}
      {kind && (
        <ActDialog
          entry={entry}
          kind={kind}
          onClose={() => setKind(null)}
          onDone={() => {
            setKind(null);
            onChanged();
          }}
        />
      )}
    </div>
  );
}

export function HeldPage({ id }: { id: string }) {
  const path = `${DESK}/${id}`;
  const { resource, value, reload } = useResource(path, (signal) => api.get<HeldWhole>(path, { signal }), {
    on: ['quarantine.changed'],
    subject: id,
  });
  return (
    <div className="page stack held-page">
      <header className="page-head">
        <Link href="/quarantine" className="btn btn-quiet">
          <Icon name="back" />
          {w('back')}
        </Link>
        {value && <Chip tone={TONE[value.state]}>{w(`state_${value.state}`)}</Chip>}
      </header>
      {resource.kind === 'failed' && <ProblemNotice problem={resource.problem} onRetry={reload} />}
      {!value && resource.kind === 'loading' && (
        <div className="panel panel-body stack" aria-busy="true" aria-label={t('state.loading')}>
          <Skeleton share={60} />
          <Skeleton share={80} />
        </div>
      )}
      {value && <Whole entry={value} onChanged={reload} />}
    </div>
  );
}

function Whole({ entry, onChanged }: { entry: HeldWhole; onChanged: () => void }) {
  const { identity } = entry;
  return (
    <>
      <PatientBanner
        patient={{
          patient_id: identity['patient_id'] ?? '',
          name: personFromPn(identity['patient_name'] ?? ''),
          birth_date: identity['birth_date'] || null,
          sex: (identity['sex'] || null) as Sex | null,
        }}
        study={identity['study_description']}
        accession={identity['accession_number']}
      />
      {entry.decided_at && (
        <Notice tone={TONE[entry.state]}>
          {w('decided', { time: dateTime(entry.decided_at) })}: {entry.reason}
        </Notice>
      )}
      <Decide entry={entry} onChanged={onChanged} />
      <section className="panel">
        <header className="panel-head">
          <h2>{w('findings')}</h2>
        </header>
        <div className="panel-body stack">
          <Findings findings={entry.findings} holding={entry.reasons} />
          <Facts entry={entry} />
        </div>
      </section>
      <Proposal entry={entry} />
      <Comparison entry={entry} />
    </>
  );
}
