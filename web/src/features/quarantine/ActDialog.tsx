/** Deciding: release, reject or a corrected identity, with a reason, for one object or for its like in the study too. */
import { useEffect, useState, type ComponentChildren } from 'react';
import { Button, Dialog, Field, Notice, notify, ProblemNotice } from '@/kit';
import { asProblem, type Problem } from '@/lib/problem';
import { t } from '@/lib/i18n/app';
import { othersOf, perform, type Act, type Correction, type HeldWhole } from './held';
import { IdentityFields } from './IdentityFields';
import { w, type Word } from './words';

interface Props {
  entry: HeldWhole;
  kind: Act['kind'];
  onDone: () => void;
  onClose: () => void;
}

function titleOf(entry: HeldWhole, kind: Act['kind']): Word {
  if (kind === 'release') return entry.proposal ? 'release_corrected' : 'release';
  return kind;
}

function textOf(entry: HeldWhole, kind: Act['kind']): Word {
  if (kind === 'release') return entry.proposal ? 'release_corrected_text' : 'release_text';
  return kind === 'reject' ? 'reject_text' : 'propose_text';
}

/** The objects that the same may be done with; empty until they are known. */
function useOthers(entry: HeldWhole) {
  const [others, setOthers] = useState<Awaited<ReturnType<typeof othersOf>>>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    othersOf(entry, stop.signal)
      .then(setOthers)
      .catch((error: unknown) => !stop.signal.aborted && setProblem(asProblem(error)));
    return () => stop.abort();
  }, [entry.id, entry.version]);
  return { others, problem };
}

export function ActDialog({ entry, kind, onDone, onClose }: Props) {
  const [reason, setReason] = useState('');
  const [correction, setCorrection] = useState<Correction>({});
  const [all, setAll] = useState(false);
  const [progress, setProgress] = useState<{ done: number; of: number } | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const { others, problem: unknown } = useOthers(entry);
  const busy = progress !== null && problem === null;

  const send = async () => {
    const words = reason.trim();
    const act: Act = kind === 'propose' ? { kind, reason: words, correction } : { kind, reason: words };
    const chosen = all ? [entry, ...others] : [entry];
    const left = chosen.slice(progress?.done ?? 0); // after a problem it goes on where it stopped
    setProblem(null);
    let done = chosen.length - left.length;
    setProgress({ done, of: chosen.length });
    try {
      for (const one of left) {
        await perform(one, act);
        done += 1;
        setProgress({ done, of: chosen.length });
      }
    } catch (error) {
      setProblem(asProblem(error));
      return;
    }
    notify(w('done', { n: done }), 'ok');
    onDone();
  };

  const unsaid = kind === 'propose' && Object.keys(correction).length === 0;
  const close = () => (progress && progress.done > 0 ? onDone() : onClose());
  return (
    <Dialog title={w(titleOf(entry, kind))} onClose={busy ? () => undefined : close} wide={kind === 'propose'}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <p className="soft">{w(textOf(entry, kind))}</p>
        {kind === 'propose' && <IdentityFields entry={entry} value={correction} onChange={setCorrection} />}
        <Reason value={reason} onChange={setReason} />
        {others.length > 0 && (
          <label className="check-line">
            <input type="checkbox" checked={all} disabled={busy} onChange={(e) => setAll(e.currentTarget.checked)} />
            <span>
              {w('others', { n: others.length })}
              <span className="hint">{w('others_hint')}</span>
            </span>
          </label>
        )}
        {unknown && <ProblemNotice problem={unknown} />}
        {problem && progress && progress.of > 1 && (
          <Notice tone="warn">{w('stopped', { done: progress.done, n: progress.of })}</Notice>
        )}
        {problem && <ProblemNotice problem={problem} />}
        <Actions busy={busy} danger={kind === 'reject'} ready={reason.trim().length >= 2 && !unsaid} onClose={close}>
          {busy && progress && progress.of > 1
            ? w('progress', { done: progress.done, n: progress.of })
            : w(kind === 'propose' ? 'propose_do' : titleOf(entry, kind))}
        </Actions>
      </form>
    </Dialog>
  );
}

function Reason({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <Field label={w('reason')} hint={w('reason_hint')}>
      {(id, describedBy) => (
        <textarea
          id={id}
          className="input"
          rows={3}
          required
          minLength={2}
          maxLength={500}
          aria-describedby={describedBy}
          value={value}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

function Actions(props: {
  busy: boolean;
  danger: boolean;
  ready: boolean;
  onClose: () => void;
  children: ComponentChildren;
}) {
  return (
    <div className="dialog-actions">
      <Button onClick={props.onClose} disabled={props.busy}>
        {t('action.cancel')}
      </Button>
      <Button type="submit" variant={props.danger ? 'danger' : 'primary'} busy={props.busy} disabled={!props.ready}>
        {props.children}
      </Button>
    </div>
  );
}
