/** What the person signed in can do with a consultation in its state; refusals are shown in words. */
import { useState } from 'react';
import { useLocation } from 'wouter';
import { Button, Dialog, Field, ProblemNotice } from '@/kit';
import { SitePicker } from '@/kit/SitePicker';
import { useAction } from '@/lib/action';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { may } from '@/lib/roles';
import type { Problem } from '@/lib/problem';
import type { Consultation } from '@/protocol/types';

type Verb = 'accept' | 'start' | 'finish' | 'cancel' | 'reject';

/** What may be done next, by state (consult's transition table) and by role. */
export function possibleVerbs(state: string): Verb[] {
  const verbs: Verb[] = [];
  if (state === 'requested' && may('consult.accept')) verbs.push('accept', 'reject');
  if (state === 'accepted' && may('room.host')) verbs.push('start');
  if ((state === 'accepted' || state === 'in_session') && may('report.draft')) verbs.push('finish');
  if ((state === 'requested' || state === 'accepted') && may('consult.request')) verbs.push('cancel');
  return verbs;
}

const ASKS_REASON = new Set<Verb>(['cancel', 'reject']);

function ReasonDialog({
  verb,
  busy,
  problem,
  onSend,
  onClose,
}: {
  verb: 'cancel' | 'reject';
  busy: boolean;
  problem: Problem | null;
  onSend: (reason: string) => void;
  onClose: () => void;
}) {
  const [reason, setReason] = useState('');
  return (
    <Dialog title={t(`consultation.verb.${verb}`)} onClose={onClose}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          onSend(reason.trim());
        }}
      >
        <Field label={t('consultation.reason')} hint={t('consultation.reason.hint')}>
          {(id, describedBy) => (
            <textarea
              id={id}
              className="input"
              rows={3}
              required
              maxLength={500}
              autoFocus
              aria-describedby={describedBy}
              value={reason}
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          )}
        </Field>
        {problem && <ProblemNotice problem={problem} />}
        <div className="dialog-actions">
          <Button onClick={onClose}>{t('action.back')}</Button>
          <Button type="submit" variant="danger" busy={busy} disabled={reason.trim() === ''}>
            {t(`consultation.verb.${verb}`)}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

const needsSite = (problem: Problem | null) =>
  problem !== null && 'problem' in problem && problem.problem.code === 'site-needed';

export function Actions({ work, onChanged }: { work: Consultation; onChanged: (work: Consultation | null) => void }) {
  const [, go] = useLocation();
  const { busy, problem, run, clear } = useAction();
  const [asking, setAsking] = useState<'cancel' | 'reject' | null>(null);
  const [siteId, setSiteId] = useState('');
  const verbs = possibleVerbs(work.state);

  const send = async (verb: Verb, body: object) => {
    const done = await run(async () => {
      const changed = await api.post<Consultation>(
        `/api/v1/consultations/${encodeURIComponent(work.id)}/${verb}`,
        body,
      );
      setAsking(null);
      onChanged(changed);
      if (verb === 'start' && changed.room_id) go(`/rooms/${encodeURIComponent(changed.room_id)}`);
      if (verb === 'finish' && changed.report_id) go(`/reports/${encodeURIComponent(changed.report_id)}`);
    });
    if (!done && asking === null) onChanged(null); // somebody may have been faster: show the present state
  };

  const press = (verb: Verb) => {
    clear();
    if (verb === 'cancel' || verb === 'reject') setAsking(verb);
    else void send(verb, verb === 'start' && siteId ? { site_id: siteId } : {});
  };

  if (verbs.length === 0) return null;
  const straight = verbs.filter((verb) => !ASKS_REASON.has(verb));
  const preferred = work.kind === 'live' ? straight[0] : straight.at(-1);
  return (
    <div className="actions stack">
      {problem && asking === null && <ProblemNotice problem={problem} />}
      {needsSite(problem) && <SitePicker value={siteId} onPick={setSiteId} />}
      <div className="row">
        {verbs.map((verb) => (
          <Button
            key={verb}
            large
            busy={busy}
            variant={verb === preferred ? 'primary' : ASKS_REASON.has(verb) ? 'danger' : 'plain'}
            onClick={() => press(verb)}
          >
            {t(`consultation.verb.${verb}`)}
          </Button>
        ))}
      </div>
      {asking && (
        <ReasonDialog
          verb={asking}
          busy={busy}
          problem={problem}
          onSend={(reason) => void send(asking, { reason })}
          onClose={() => setAsking(null)}
        />
      )}
    </div>
  );
}
