/** Short messages in the top bar, two at most; they leave by themselves, problems later than good news. */
import { signal } from '@preact/signals';
import { Notice, type Tone } from './base';

interface Toast {
  id: number;
  tone: Tone;
  text: string;
}

const LIFE_MS: Partial<Record<Tone, number>> = { bad: 9000, warn: 7000 };
const shown = signal<Toast[]>([]);
let count = 0;

/** Show a short message. */
export function notify(text: string, tone: Tone = 'ok'): void {
  const id = ++count;
  shown.value = [...shown.value.slice(-1).filter((toast) => toast.text !== text), { id, tone, text }];
  setTimeout(() => {
    shown.value = shown.value.filter((toast) => toast.id !== id);
  }, LIFE_MS[tone] ?? 4000);
}

export function Toasts() {
  return (
    <div className="toasts" aria-live="polite">
      {shown.value.map((toast) => (
        <Notice key={toast.id} tone={toast.tone}>
          {toast.text}
        </Notice>
      ))}
    </div>
  );
}
