/** The text with its state, its acts and its neighbours. */
import { useEffect, useState } from 'react';
import { Field, Icon, Notice, ProblemNotice } from '@/kit';
import { ReportChip } from '@/kit/WorkChips';
import { user } from '@/lib/auth';
import { t } from '@/lib/i18n/app';
import { may } from '@/lib/roles';
import { dateTime } from '@/lib/when';
import type { Addendum, Report } from '@/protocol/types';
import { Conflict } from './Conflict';
import { openDraft, SECTIONS, type Draft, type SectionName } from './draft';
import { KeyImages } from './KeyImages';
import { ReportActions } from './ReportActions';
import { useReport } from './useReport';
import { Versions } from './Versions';

/** Whether the person signed in writes in this report now: the author drafts, the reviewer edits in place. */
export function mayWrite(report: Report): boolean {
  const me = user.value?.id;
  switch (report.state) {
    case 'drafting':
    case 'returned':
      return may('report.draft') && (report.author === null || report.author.id === me);
    case 'in_review':
      return may('report.review') && report.reviewer?.id === me;
    case 'submitted':
    case 'signed':
    case 'retracted':
      return false;
  }
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
          {draft.problem
            ? t(draft.problem.kind === 'offline' ? 'report.save.offline' : 'report.save.failed')
            : t(held ? 'report.save.held' : 'report.save.dirty')}
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

export function ReportDesk({ fresh, onSaved }: { fresh: Report; onSaved: (report: Report) => void }) {
  const [reason, setReason] = useState('');
  const inReview = fresh.state === 'in_review';
  const held = inReview && reason.trim() === '';
  const { draft, send, settle } = useReport(fresh, openDraft, held, inReview ? reason.trim() : '');
  useEffect(() => send({ type: 'arrived', report: fresh }), [fresh, send]);

  const report = draft.saved;
  useEffect(() => {
    if (report.version > fresh.version) onSaved(report);
  }, [report, fresh.version, onSaved]);
  const writing = mayWrite(report) && draft.kind !== 'conflict';
  const arrived = (changed: Report) => send({ type: 'arrived', report: changed });
  return (
    <>
      <header className="report-head">
        <h1>{t('report.title')}</h1>
        <ReportChip state={report.state} />
        {mayWrite(report) && <SaveState draft={draft} held={held} />}
        <span className="grow" />
        <ReportActions report={report} settle={settle} onChanged={arrived} />
      </header>
      <div className="report-split">
        <KeyImages images={report.key_images} />
        <div className="panel report-text">
          {draft.kind === 'dirty' && draft.problem && draft.problem.kind !== 'offline' && (
            <ProblemNotice problem={draft.problem} />
          )}
          {report.state === 'submitted' && (
            <Notice title={t('report.waits_review')}>{t('report.waits_review.text')}</Notice>
          )}
          {draft.kind === 'conflict' && (
            <Conflict
              base={draft.saved.sections}
              mine={draft.text}
              theirs={draft.theirs}
              onResolve={(text) => send({ type: 'resolved', text })}
            />
          )}
          {report.state === 'signed' && <Signature report={report} />}
          {writing && inReview && (
            <Field label={t('report.reason')} hint={t('report.reason.hint')}>
              {(id, describedBy) => (
                <input
                  id={id}
                  className="input"
                  maxLength={500}
                  aria-describedby={describedBy}
                  value={reason}
                  onInput={(event) => setReason(event.currentTarget.value)}
                />
              )}
            </Field>
          )}
          {draft.kind !== 'conflict' &&
            SECTIONS.map((name) => (
              <Section
                key={name}
                name={name}
                text={draft.text[name]}
                onEdit={writing ? (text) => send({ type: 'edit', section: name, text }) : null}
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
