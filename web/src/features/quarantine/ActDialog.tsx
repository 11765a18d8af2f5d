/** Deciding: release, reject or a corrected identity, with a reason, for one object or for its like in the study too. */
import { useEffect, useState, type ComponentChildren } from 'react';
import { Button, Dialog, Field, Notice, notify, ProblemNotice } from '@/kit';
import { asProblem, type Problem } from '@/lib/problem';
import { t } from '@/lib/i18n/app';
import { othersOf, perform, type Act, type Correction, type Held, type HeldWhole } from './held';
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

/** The objects that the same may be done with, as they are when the dialog opens; empty until they are known. */
function useOthers(entry: HeldWhole) {
  const [others, setOthers] = useState<Held[]>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    othersOf(entry, stop.signal)
      .then(setOthers)
      .catch((error: unknown) => !stop.signal.aborted && setProblem(asProblem(error)));
    return () => stop.abort();
  }, []);
  return { others, problem };
}

/** How far an act on several objects is; `left` begins with the one that is tried next. */
interface Run {
  left: readonly Held[];
  of: number;
  done: number;
  out: number; // left as they were: somebody else's by now
}

function useRun(onDone: () => void) {
  const [run, setRun] = useState<Run | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  /** Begin with `chosen`, or go on where a problem has stopped it. */
  const go = async (chosen: readonly Held[], act: Act) => {
    let now: Run = run ?? { left: chosen, of: chosen.length, done: 0, out: 0 };
    setProblem(null);
    setBusy(true);
    for (let [one, ...rest] = now.left; one; [one, ...rest] = rest) {
      try {
        await perform(one, act);
        now = { ...now, left: rest, done: now.done + 1 };
      } catch (error) {
        const why = asProblem(error);
        if (why.kind !== 'conflict' || now.of === 1) {
          setProblem(why);
          setBusy(false);
          return;
        }
        now = { ...now, left: rest, out: now.out + 1 };
      }
      setRun(now);
    }
    notify(w('done', { n: now.done }), 'ok');
    if (now.out > 0) notify(w('left_out', { n: now.out }), 'bad');
    onDone();
  };
  return { run, busy, problem, go };
}

export function ActDialog({ entry: shown, kind, onDone, onClose }: Props) {
  const [entry] = useState(shown); // as the person has seen it; the page behind may change meanwhile
  const [reason, setReason] = useState('');
  const [correction, setCorrection] = useState<Correction>({});
  const [all, setAll] = useState(false);
  const { others, problem: unknown } = useOthers(entry);
  const { run, busy, problem, go } = useRun(onDone);
  const send = () => {
    const words = reason.trim();
    const act: Act = kind === 'propose' ? { kind, reason: words, correction } : { kind, reason: words };
    return go(all ? [entry, ...others] : [entry], act);
  };
  const unsaid = kind === 'propose' && Object.keys(correction).length === 0;
  const close = () => (run ? onDone() : onClose());
  const many = run !== null && run.of > 1 ? run : null;
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
            <input
              type="checkbox"
              checked={all}
              disabled={busy || run !== null}
              onChange={(event) => setAll(event.currentTarget.checked)}
            />
            <span>
              {w('others', { n: others.length })}
              <span className="hint">{w('others_hint')}</span>
            </span>
          </label>
        )}
        {unknown && <ProblemNotice problem={unknown} />}
        {problem && many && <Notice tone="warn">{w('stopped', { done: many.done, n: many.of })}</Notice>}
        {problem && <ProblemNotice problem={problem} />}
        <Actions busy={busy} danger={kind === 'reject'} ready={reason.trim().length >= 2 && !unsaid} onClose={close}>
          {busy && many
            ? w('progress', { done: many.done + many.out, n: many.of })
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
