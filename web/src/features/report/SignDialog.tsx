/** Sign: show once more whose report it is and what it says, ask for the password, then show the signature's hash. */
import { useState } from 'react';
import { Button, Dialog, Field, Notice, PatientBanner, ProblemNotice } from '@/kit';
import { useAction } from '@/lib/action';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import type { Problem } from '@/lib/problem';
import { sentence } from '@/lib/problemWords';
import { dateTime } from '@/lib/when';
import type { Report } from '@/protocol/types';
import { reportPath } from './desk';

function Signed({ report, onClose }: { report: Report; onClose: () => void }) {
  return (
    <>
      <Notice tone="ok" title={t('report.signed')}>
        {report.signed_by?.name} · {report.signed_at && dateTime(report.signed_at)}
      </Notice>
      <div>
        <h3 className="section-label">{t('report.hash')}</h3>
        <p className="hash mono">{report.hash}</p>
        <p className="faint small">{t('report.hash.text')}</p>
      </div>
      <div className="dialog-actions">
        <Button variant="primary" onClick={onClose}>
          {t('action.close')}
        </Button>
      </div>
    </>
  );
}

/** Why a signature was refused; a wrong password is the signer's to mend, whatever the role. */
export function SignatureProblem({ problem }: { problem: Problem }) {
  if (problem.kind !== 'denied') return <ProblemNotice problem={problem} />;
  return (
    <Notice tone="bad" title={t('report.sign.refused')}>
      {sentence(problem.problem)}
    </Notice>
  );
}

export function SignDialog({
  report,
  onSigned,
  onClose,
}: {
  report: Report;
  onSigned: (report: Report) => void;
  onClose: () => void;
}) {
  const [password, setPassword] = useState('');
  const [signed, setSigned] = useState<Report | null>(null);
  const { busy, problem, run } = useAction();
  const sign = async () => {
    await run(async () => {
      const answer = await api.post<Report>(
        reportPath(report.id, '/sign'),
        { password },
        { headers: { 'if-match': report.etag } },
      );
      setSigned(answer);
      onSigned(answer);
    });
    setPassword('');
  };
  return (
    <Dialog title={t('report.sign')} onClose={onClose}>
      <PatientBanner patient={report.patient} />
      {signed ? (
        <Signed report={signed} onClose={onClose} />
      ) : (
        <form
          className="stack"
          onSubmit={(event) => {
            event.preventDefault();
            void sign();
          }}
        >
          <div className="sign-text">
            <h3 className="section-label">{t('report.section.impression')}</h3>
            <p>{report.sections.impression || t('report.section.empty')}</p>
            {report.sections.recommendation && (
              <>
                <h3 className="section-label">{t('report.section.recommendation')}</h3>
                <p>{report.sections.recommendation}</p>
              </>
            )}
          </div>
          <p className="small soft">
            {t('report.sign.text', { n: report.version, author: report.author?.name ?? '' })}
          </p>
          <Field label={t('report.sign.password')}>
            {(id) => (
              <input
                id={id}
                className="input"
                type="password"
                autoComplete="current-password"
                autoFocus
                required
                value={password}
                onInput={(event) => setPassword(event.currentTarget.value)}
              />
            )}
          </Field>
          {problem && <SignatureProblem problem={problem} />}
          <div className="dialog-actions">
            <Button onClick={onClose}>{t('action.cancel')}</Button>
            <Button type="submit" variant="primary" icon="lock" busy={busy} disabled={password === ''}>
              {t('report.sign.do')}
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
