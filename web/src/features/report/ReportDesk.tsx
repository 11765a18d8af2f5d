/** The text with its state, its acts and its neighbours. */
import { useEffect } from 'react';
import { Button, Field, Icon, Notice, ProblemNotice } from '@/kit';
import { ReportChip } from '@/kit/WorkChips';
import { t, type MessageKey } from '@/lib/i18n/app';
import type { Problem } from '@/lib/problem';
import { dateTime } from '@/lib/when';
import type { Addendum, Report } from '@/protocol/types';
import { Conflict } from './Conflict';
import { mayWrite, passes, type Desk } from './desk';
import { SECTIONS, type Draft, type SectionName } from './draft';
import { KeyImages } from './KeyImages';
import { ReportActions } from './ReportActions';
import { useReport } from './useReport';
import { Versions } from './Versions';

function saveWord(problem: Problem): MessageKey {
  if (problem.kind === 'offline') return 'report.save.offline';
  return passes(problem) ? 'report.save.failed' : 'report.save.refused';
}

function SaveState({ draft, held }: { draft: Draft; held: boolean }) {
  switch (draft.kind) {
    case 'clean':
      return (
        <span className="save-state" data-tone="ok">
          <Icon name="check" />
          {t('report.save.saved', { n: draft.saved.version })}
        </span>
      );
    case 'saving':
      return <span className="save-state">{t('report.save.saving')}</span>;
    case 'dirty':
      return (
        <span className="save-state" data-tone={draft.problem || held ? 'warn' : undefined}>
          {draft.problem ? t(saveWord(draft.problem)) : t(held ? 'report.save.held' : 'report.save.dirty')}
        </span>
      );
    case 'conflict':
      return (
        <span className="save-state" data-tone="warn">
          {t('report.save.conflict')}
        </span>
      );
  }
}

function Section({ name, text, onEdit }: { name: SectionName; text: string; onEdit: ((text: string) => void) | null }) {
  const label = t(`report.section.${name}`);
  if (!onEdit) {
    return (
      <section className="section" data-main={name === 'impression' || undefined}>
        <h2 className="section-label">{label}</h2>
        {text ? <p className="section-text">{text}</p> : <p className="faint small">{t('report.section.empty')}</p>}
      </section>
    );
  }
  return (
    <div className="section">
      <label className="section-label" htmlFor={`section-${name}`}>
        {label}
      </label>
      <textarea
        id={`section-${name}`}
        className="input section-input"
        maxLength={20_000}
        placeholder={t(`report.section.${name}.hint`)}
        value={text}
        onInput={(event) => onEdit(event.currentTarget.value)}
      />
    </div>
  );
}

function Signature({ report }: { report: Report }) {
  return (
    <div className="signature">
      <Icon name="lock" />
      <div className="grow">
        <strong>{t('report.locked', { name: report.signed_by?.name ?? '' })}</strong>
        <p className="soft small">{report.signed_at && dateTime(report.signed_at)}</p>
        {report.hash && <p className="hash mono small">{report.hash}</p>}
      </div>
    </div>
  );
}

function Addenda({ addenda }: { addenda: readonly Addendum[] }) {
  return (
    <>
      {addenda.map((addendum) => (
        <section key={addendum.id} className="section addendum">
          <h2 className="section-label">{t('report.addendum')}</h2>
          <p className="section-text">{addendum.text}</p>
          <p className="faint small">
            {addendum.signed_by.name} · {dateTime(addendum.signed_at)}
          </p>
        </section>
      ))}
    </>
  );
}

/** Text that this tab still holds of a report which has moved on without it: shown apart, never as the report's own. */
function LeftOver({ desk }: { desk: Desk }) {
  const { text, saved } = desk.draft.value;
  return (
    <Notice
      tone="warn"
      title={t('report.left_over')}
      action={<Button onClick={() => desk.discard()}>{t('report.left_over.drop')}</Button>}
    >
      <p>{t('report.left_over.text')}</p>
      {SECTIONS.filter((name) => text[name] !== saved.sections[name]).map((name) => (
        <div key={name}>
          <h3 className="section-label">{t(`report.section.${name}`)}</h3>
          <p className="section-text">{text[name]}</p>
        </div>
      ))}
    </Notice>
  );
}

export function ReportDesk({ fresh, onSaved }: { fresh: Report; onSaved: (report: Report) => void }) {
  const desk = useReport(fresh);
  const draft = desk.draft.value;
  const report = draft.saved;
  useEffect(() => {
    if (report.version > fresh.version) onSaved(report);
  }, [report, fresh.version, onSaved]);
  const writer = mayWrite(report);
  const writing = writer && draft.kind !== 'conflict';
  return (
    <>
      <header className="report-head">
        <h1>{t('report.title')}</h1>
        <ReportChip state={report.state} />
        {writer && <SaveState draft={draft} held={desk.held()} />}
        <span className="grow" />
        <ReportActions
          report={report}
          settle={() => desk.settle()}
          onChanged={(changed) => desk.send({ type: 'arrived', report: changed })}
        />
      </header>
      <div className="report-split">
        <KeyImages
          report={report}
          images={writer ? draft.images : report.key_images}
          onChange={writing ? (images) => desk.send({ type: 'images', images }) : null}
        />
        <div className="panel report-text">
          {draft.kind === 'dirty' && draft.problem && draft.problem.kind !== 'offline' && (
            <ProblemNotice problem={draft.problem} />
          )}
          {!writer && draft.kind !== 'clean' && <LeftOver desk={desk} />}
          {report.state === 'submitted' && (
            <Notice title={t('report.waits_review')}>{t('report.waits_review.text')}</Notice>
          )}
          {writer && draft.kind === 'conflict' && (
            <Conflict
              base={draft.saved.sections}
              mine={draft.text}
              theirs={draft.theirs}
              onResolve={(text) => desk.send({ type: 'resolved', text })}
            />
          )}
          {report.state === 'signed' && <Signature report={report} />}
          {writing && report.state === 'in_review' && (
            <Field label={t('report.reason')} hint={t('report.reason.hint')}>
              {(id, describedBy) => (
                <input
                  id={id}
                  className="input"
                  maxLength={500}
                  aria-describedby={describedBy}
                  value={desk.reason.value}
                  onInput={(event) => desk.setReason(event.currentTarget.value)}
                />
              )}
            </Field>
          )}
          {(writing || !writer) &&
            SECTIONS.map((name) => (
              <Section
                key={name}
                name={name}
                text={writing ? draft.text[name] : report.sections[name]}
                onEdit={writing ? (text) => desk.send({ type: 'edit', section: name, text }) : null}
              />
            ))}
          <Addenda addenda={report.addenda ?? []} />
          <p className="faint small">
            {report.author && t('report.author', { name: report.author.name })}
            {report.reviewer && ` · ${t('report.reviewer', { name: report.reviewer.name })}`}
          </p>
        </div>
        <Versions id={report.id} version={report.version} />
      </div>
    </>
  );
}
