/** Labelled controls. */
import { useId, type ComponentChildren } from 'react';
import './form.css';

interface FieldProps {
  label: string;
  hint?: string | undefined;
  bad?: boolean | undefined;
  children: (id: string, describedBy: string | undefined) => ComponentChildren;
}

/** A labelled control; the child draws the control with the given id. */
export function Field({ label, hint, bad, children }: FieldProps) {
  const id = useId();
  return (
    <div className="field">
      <label className="label" htmlFor={id}>
        {label}
      </label>
      {children(id, hint ? `${id}-hint` : undefined)}
      {hint && (
        <span className="hint" id={`${id}-hint`} data-bad={bad || undefined}>
          {hint}
        </span>
      )}
    </div>
  );
}

interface SegmentedProps<V extends string> {
  label: string;
  options: readonly { value: V; label: string }[];
  value: V;
  onChange: (value: V) => void;
}

/** One of a few choices, as a radio group; arrows move. */
export function Segmented<V extends string>({ label, options, value, onChange }: SegmentedProps<V>) {
  const move = (event: KeyboardEvent, step: number) => {
    event.preventDefault();
    const index = options.findIndex((option) => option.value === value);
    const next = options[(index + step + options.length) % options.length];
    if (!next) return;
    onChange(next.value);
    const group = event.currentTarget as HTMLElement;
    group.querySelectorAll('button')[options.indexOf(next)]?.focus();
  };
  return (
    <div
      className="segmented"
      role="radiogroup"
      aria-label={label}
      onKeyDown={(event) => {
        if (event.key === 'ArrowRight' || event.key === 'ArrowDown') move(event, 1);
        if (event.key === 'ArrowLeft' || event.key === 'ArrowUp') move(event, -1);
      }}
    >
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          role="radio"
          aria-checked={option.value === value}
          tabIndex={option.value === value ? 0 : -1}
          onClick={() => onChange(option.value)}
        >
          {option.label}
        </button>
      ))}
    </div>
  );
}
