/** The two acts that need words: returning a report with a reason, and a signed addendum beside a signed report. */
import { useState } from 'react';
import { Button, Dialog, Field, ProblemNotice } from '@/kit';
import { useAction } from '@/lib/action';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import type { Report } from '@/protocol/types';
import { SignatureProblem } from './SignDialog';
import { reportPath } from './desk';

interface Props {
  report: Report;
  onDone: (report: Report) => void;
  onClose: () => void;
}

export function ReturnDialog({ report, onDone, onClose }: Props) {
  const [reason, setReason] = useState('');
  const { busy, problem, run } = useAction();
  const send = () =>
    run(async () => {
      const headers = { 'if-match': report.etag };
      onDone(await api.post<Report>(reportPath(report.id, '/return'), { reason: reason.trim() }, { headers }));
      onClose();
    });
  return (
    <Dialog title={t('report.return')} onClose={onClose}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <Field label={t('report.return.reason')} hint={t('report.return.hint')}>
          {(id, describedBy) => (
            <textarea
              id={id}
              className="input"
              rows={4}
              autoFocus
              required
              maxLength={500}
              aria-describedby={describedBy}
              value={reason}
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          )}
        </Field>
        {problem && <ProblemNotice problem={problem} />}
        <div className="dialog-actions">
          <Button onClick={onClose}>{t('action.cancel')}</Button>
          <Button type="submit" variant="primary" busy={busy} disabled={reason.trim() === ''}>
            {t('report.return')}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

export function AddendumDialog({ report, onDone, onClose }: Props) {
  const [text, setText] = useState('');
  const [password, setPassword] = useState('');
  const { busy, problem, run } = useAction();
  const send = async () => {
    await run(async () => {
      onDone(await api.post<Report>(reportPath(report.id, '/addenda'), { text: text.trim(), password }));
      onClose();
    });
    setPassword('');
  };
  return (
    <Dialog title={t('report.addendum')} onClose={onClose}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <Field label={t('report.addendum.text')} hint={t('report.addendum.hint')}>
          {(id, describedBy) => (
            <textarea
              id={id}
              className="input"
              rows={5}
              autoFocus
              required
              maxLength={20_000}
              aria-describedby={describedBy}
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label={t('report.sign.password')}>
          {(id) => (
            <input
              id={id}
              className="input"
              type="password"
              autoComplete="current-password"
              required
              value={password}
              onInput={(event) => setPassword(event.currentTarget.value)}
            />
          )}
        </Field>
        {problem && <SignatureProblem problem={problem} />}
        <div className="dialog-actions">
          <Button onClick={onClose}>{t('action.cancel')}</Button>
          <Button
            type="submit"
            variant="primary"
            icon="lock"
            busy={busy}
            disabled={text.trim() === '' || password === ''}
          >
            {t('report.addendum.do')}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
