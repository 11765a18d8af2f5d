/** Ask for a consultation: whose, what, how urgent, by which way. */
import { useState } from 'react';
import { useLocation } from 'wouter';
import { SitePicker } from '@/kit/SitePicker';
import { Button, Dialog, Field, notify, ProblemNotice, Segmented } from '@/kit';
import { Modality } from '@/kit/WorkChips';
import { useAction } from '@/lib/action';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { calendarDate } from '@/lib/when';
import type { Consultation, ConsultationKind, Patient, Study, Urgency } from '@/protocol/types';
import { PatientPicker } from './PatientPicker';
import './request.css';

const URGENCIES: readonly Urgency[] = ['stat', 'urgent', 'routine'];
const KINDS: readonly ConsultationKind[] = ['live', 'report', 'second_opinion'];
const LONGEST_QUESTION = 2000;

function StudyLine({ study }: { study: Study }) {
  return (
    <p className="request-study row">
      {study.modalities.map((code) => (
        <Modality key={code} code={code} />
      ))}
      <span>{study.description || t('studies.untitled')}</span>
      <span className="faint num small">
        {calendarDate(study.study_date)} · {study.accession_number}
      </span>
    </p>
  );
}

export function RequestDialog({ study, onClose }: { study: Study | null; onClose: () => void }) {
  const [, go] = useLocation();
  const [patient, setPatient] = useState<Patient | null>(null);
  const [question, setQuestion] = useState('');
  const [urgency, setUrgency] = useState<Urgency>('routine');
  const [kind, setKind] = useState<ConsultationKind>(study ? 'report' : 'live');
  const [siteId, setSiteId] = useState('');
  const { busy, problem, run } = useAction();
  const ready = patient !== null && question.trim() !== '';

  const send = () =>
    run(async () => {
      if (!patient) return;
      const made = await api.post<Consultation>('/api/v1/consultations', {
        patient_id: patient.id,
        question: question.trim(),
        urgency,
        kind,
        ...(kind === 'live' && siteId ? { site_id: siteId } : {}),
        ...(study ? { study_uid: study.study_uid, accession_number: study.accession_number ?? '' } : {}),
      });
      notify(t('request.sent'));
      onClose();
      go(`/consultations/${encodeURIComponent(made.id)}`);
    });

  return (
    <Dialog title={t('request.title')} onClose={onClose}>
      {study && <StudyLine study={study} />}
      <PatientPicker patient={patient} onPick={setPatient} firstQuery={study?.patient_id ?? ''} />
      <form
        className="stack request-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) void send();
        }}
      >
        <Field label={t('request.question')} hint={t('request.question.hint')}>
          {(id, describedBy) => (
            <textarea
              id={id}
              className="input"
              rows={4}
              maxLength={LONGEST_QUESTION}
              aria-describedby={describedBy}
              value={question}
              onInput={(event) => setQuestion(event.currentTarget.value)}
            />
          )}
        </Field>
        <div className="request-choices">
          <div className="field">
            <span className="label">{t('request.urgency')}</span>
            <Segmented
              label={t('request.urgency')}
              value={urgency}
              onChange={setUrgency}
              options={URGENCIES.map((value) => ({ value, label: t(`urgency.${value}`) }))}
            />
            <span className="hint">{t(`urgency.${urgency}.hint`)}</span>
          </div>
          <div className="field">
            <span className="label">{t('request.kind')}</span>
            <Segmented
              label={t('request.kind')}
              value={kind}
              onChange={setKind}
              options={KINDS.map((value) => ({ value, label: t(`consultation.kind.${value}`) }))}
            />
            <span className="hint">{t(`consultation.kind.${kind}.hint`)}</span>
          </div>
        </div>
        {kind === 'live' && <SitePicker value={siteId} onPick={setSiteId} />}
        {problem && <ProblemNotice problem={problem} />}
        <div className="dialog-actions">
          {!ready && (
            <span className="faint small grow">{t(patient ? 'request.needs_question' : 'request.needs_patient')}</span>
          )}
          <Button onClick={onClose}>{t('action.cancel')}</Button>
          <Button type="submit" variant="primary" icon="send" busy={busy} disabled={!ready}>
            {t('request.send')}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
