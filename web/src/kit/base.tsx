/** The parts that the shell itself needs; pages import the whole kit from `@/kit`. */
import type { ComponentChildren, JSX } from 'react';
import { Icon, type IconName } from './Icon';

export type Tone = 'neutral' | 'accent' | 'ok' | 'warn' | 'bad' | 'info' | 'violet';

interface ButtonProps extends Omit<JSX.IntrinsicElements['button'], 'icon'> {
  variant?: 'plain' | 'primary' | 'quiet' | 'danger';
  large?: boolean;
  icon?: IconName;
  busy?: boolean;
  label?: string; // the accessible name of an icon-only button
}

export function Button({
  variant = 'plain',
  large,
  icon,
  busy,
  label,
  children,
  className,
  disabled,
  ...rest
}: ButtonProps) {
  const names = [
    'btn',
    variant !== 'plain' && `btn-${variant}`,
    large && 'btn-large',
    !children && 'btn-icon',
    className,
  ];
  return (
    <button
      type="button"
      {...rest}
      className={names.filter(Boolean).join(' ')}
      aria-label={label}
      title={label}
      aria-busy={busy || undefined}
      disabled={Boolean(disabled) || Boolean(busy)}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

export function Chip({
  tone = 'neutral',
  dot,
  pulse,
  children,
}: {
  tone?: Tone;
  dot?: boolean;
  pulse?: boolean;
  children: ComponentChildren;
}) {
  return (
    <span className="chip" data-tone={tone} data-pulse={pulse || undefined}>
      {dot && <span className="dot" />}
      {children}
    </span>
  );
}

export function Notice({
  tone = 'info',
  title,
  children,
  action,
}: {
  tone?: Tone;
  title?: string;
  children?: ComponentChildren;
  action?: ComponentChildren;
}) {
  const icon: IconName = tone === 'ok' ? 'check' : tone === 'bad' || tone === 'warn' ? 'warn' : 'info';
  return (
    <div className="notice" data-tone={tone} role={tone === 'bad' ? 'alert' : 'status'}>
      <Icon name={icon} />
      <div className="grow">
        {title && <strong>{title}</strong>}
        {children}
      </div>
      {action}
    </div>
  );
}

export function Empty({
  icon,
  title,
  children,
  action,
}: {
  icon: IconName;
  title: string;
  children?: ComponentChildren;
  action?: ComponentChildren;
}) {
  return (
    <div className="empty">
      <Icon name={icon} />
      <strong>{title}</strong>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

/** A grey bar where a text will be; the width is a share of the line. */
export function Skeleton({ share = 100 }: { share?: number }) {
  return <span className="skeleton" style={{ width: `${share}%` }} aria-hidden="true" />;
}

export function Kbd({ children }: { children: string }) {
  return <kbd className="kbd">{children}</kbd>;
}
