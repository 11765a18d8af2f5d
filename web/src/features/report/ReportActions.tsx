/** What can be done with the report in its state: submit, take into review, return, sign, addendum, print. */
import { useState } from 'react';
import { Button, notify, ProblemNotice } from '@/kit';
import { useAction } from '@/lib/action';
import { api } from '@/lib/api';
import { user } from '@/lib/auth';
import { t } from '@/lib/i18n/app';
import { openTab } from '@/lib/openTab';
import { may } from '@/lib/roles';
import type { Report } from '@/protocol/types';
import { SignDialog } from './SignDialog';
import { AddendumDialog, ReturnDialog } from './TextDialogs';
import { reportPath } from './desk';

type Act = 'submit' | 'review' | 'return' | 'sign' | 'addendum';

/** The acts that this state and this person allow; the server has the last word. */
export function possibleActs(report: Report): Act[] {
  const me = user.value?.id;
  switch (report.state) {
    case 'drafting':
    case 'returned':
      return may('report.draft') && report.author?.id === me ? ['submit'] : [];
    case 'submitted':
      return may('report.review') && report.author?.id !== me ? ['review'] : [];
    case 'in_review': {
      const acts: Act[] = [];
      if (may('report.review')) acts.push('return');
      if (may('report.sign') && report.author?.id !== me) acts.push('sign');
      return acts;
    }
    case 'signed':
      return may('report.sign') ? ['addendum'] : [];
    case 'retracted':
      return [];
  }
}

interface Props {
  report: Report;
  settle: () => Promise<Report | null>;
  onChanged: (report: Report) => void;
}

export function ReportActions({ report, settle, onChanged }: Props) {
  const { busy, problem, run } = useAction();
  const [dialog, setDialog] = useState<{ act: 'return' | 'sign' | 'addendum'; report: Report } | null>(null);

  /** Save first: an act is about the text on the screen. */
  const act = (name: Act) =>
    run(async () => {
      const saved = report.state === 'signed' ? report : await settle();
      if (!saved) {
        notify(t('report.save_first'), 'warn');
        return;
      }
      if (name === 'return' || name === 'sign' || name === 'addendum') {
        setDialog({ act: name, report: saved });
        return;
      }
      onChanged(await api.post<Report>(reportPath(report.id, `/${name}`), {}, { headers: { 'if-match': saved.etag } }));
      notify(t(`report.done.${name}`));
    });

  return (
    <>
      <Button icon="file" busy={busy} onClick={() => void run(() => openTab(reportPath(report.id, '/pdf')))}>
        {t('report.pdf')}
      </Button>
      {possibleActs(report).map((name) => (
        <Button
          key={name}
          busy={busy}
          variant={name === 'return' ? 'plain' : 'primary'}
          {...(name === 'sign' ? { icon: 'lock' as const } : {})}
          onClick={() => void act(name)}
        >
          {t(`report.${name}`)}
        </Button>
      ))}
      {problem && (
        <div className="report-problem">
          <ProblemNotice problem={problem} />
        </div>
      )}
      {dialog?.act === 'return' && (
        <ReturnDialog report={dialog.report} onDone={onChanged} onClose={() => setDialog(null)} />
      )}
      {dialog?.act === 'sign' && (
        <SignDialog report={dialog.report} onSigned={onChanged} onClose={() => setDialog(null)} />
      )}
      {dialog?.act === 'addendum' && (
        <AddendumDialog report={dialog.report} onDone={onChanged} onClose={() => setDialog(null)} />
      )}
    </>
  );
}
