/** A modal native dialog, open while it is mounted; Escape and the cross close it. */
import { useEffect, useId, useRef, type ComponentChildren } from 'react';
import { t } from '@/lib/i18n/app';
import { Button } from './base';
import './dialog.css';

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  wide?: boolean;
}

export function Dialog({ title, onClose, children, wide }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      className={wide ? 'dialog dialog-wide' : 'dialog'}
      ref={ref}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={id} className="grow">
          {title}
        </h2>
        <Button variant="quiet" icon="close" label={t('action.close')} onClick={onClose} />
      </header>
      <div className="dialog-body">{children}</div>
    </dialog>
  );
}
