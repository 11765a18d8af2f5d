/** Every version: who, when, what act, why; and the word difference between any two. */
import { useState } from 'react';
import { Dialog, Field, ProblemNotice, Skeleton } from '@/kit';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import type { MessageKey } from '@/lib/i18n/en';
import { useResource } from '@/lib/resource';
import { dateTime } from '@/lib/when';
import type { ReportVersion } from '@/protocol/types';
import { DiffText } from './Diff';
import { SECTIONS } from './draft';
import { reportPath } from './desk';

const ACTS: Record<string, MessageKey> = {
  open: 'report.act.open',
  create: 'report.act.open',
  edit: 'report.act.edit',
  submit: 'report.act.submit',
  review: 'report.act.review',
  return: 'report.act.return',
  sign: 'report.act.sign',
};

const actWord = (act: string) => (ACTS[act] ? t(ACTS[act]) : act);

/** One of a few colours per author, the same on every version of a report. */
function authorColour(versions: readonly ReportVersion[], id: string): number {
  return [...new Set(versions.map((version) => version.by.id))].indexOf(id) % 6;
}

function Compare({
  versions,
  first,
  onClose,
}: {
  versions: readonly ReportVersion[];
  first: ReportVersion;
  onClose: () => void;
}) {
  const index = versions.indexOf(first);
  const [after, setAfter] = useState(first.version);
  const [before, setBefore] = useState((versions[index - 1] ?? first).version);
  const find = (number: number) => versions.find((version) => version.version === number) ?? first;
  const choice = (value: number, set: (value: number) => void) => (id: string) => (
    <select
      id={id}
      className="input"
      value={String(value)}
      onChange={(event) => set(Number(event.currentTarget.value))}
    >
      {versions.map((version) => (
        <option key={version.version} value={String(version.version)}>
          {t('report.version', { n: version.version })} · {version.by.name} · {dateTime(version.at)}
        </option>
      ))}
    </select>
  );
  return (
    <Dialog title={t('report.compare')} onClose={onClose} wide>
      <div className="compare-choice">
        <Field label={t('report.compare.before')}>{choice(before, setBefore)}</Field>
        <Field label={t('report.compare.after')}>{choice(after, setAfter)}</Field>
      </div>
      {find(after).reason && <p className="small soft">{t('report.why', { reason: find(after).reason })}</p>}
      {SECTIONS.map((name) => (
        <section key={name}>
          <h3 className="section-label">{t(`report.section.${name}`)}</h3>
          <DiffText before={find(before).sections[name]} after={find(after).sections[name]} />
        </section>
      ))}
    </Dialog>
  );
}

export function Versions({ id, version }: { id: string; version: number }) {
  const [open, setOpen] = useState<ReportVersion | null>(null);
  const { resource, value, reload } = useResource(`${id}:${version}`, (signal) =>
    api.get<{ items: ReportVersion[] }>(reportPath(id, '/versions'), { signal }),
  );
  const versions = [...(value?.items ?? [])].sort((a, b) => a.version - b.version);
  return (
    <section className="panel versions" aria-labelledby="versions-title">
      <header className="panel-head">
        <h2 id="versions-title">{t('report.versions')}</h2>
      </header>
      {resource.kind === 'failed' && <ProblemNotice problem={resource.problem} onRetry={reload} />}
      {!value && resource.kind === 'loading' && (
        <div className="panel-body stack">
          <Skeleton share={70} />
          <Skeleton share={55} />
        </div>
      )}
      <ol>
        {versions.toReversed().map((entry) => (
          <li key={entry.version}>
            <button type="button" onClick={() => setOpen(entry)} data-author={authorColour(versions, entry.by.id)}>
              <span className="row">
                <strong>{actWord(entry.act)}</strong>
                <span className="grow" />
                <span className="faint small num">{t('report.version', { n: entry.version })}</span>
              </span>
              <span className="soft small">{entry.by.name}</span>
              <time className="faint small num" dateTime={entry.at}>
                {dateTime(entry.at)}
              </time>
              {entry.reason && <q className="small soft">{entry.reason}</q>}
            </button>
          </li>
        ))}
      </ol>
      {open && <Compare versions={versions} first={open} onClose={() => setOpen(null)} />}
    </section>
  );
}
