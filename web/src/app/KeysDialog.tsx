/** The list of keys, loaded when it is asked for. */
import { Dialog, Kbd } from '@/kit';
import { t, type MessageKey } from '@/lib/i18n/app';
import './keys.css';

const KEYS: readonly [string[], MessageKey][] = [
  [['/'], 'keys.search'],
  [['?'], 'keys.help'],
  [['g', 'h'], 'keys.home'],
  [['g', 'r'], 'keys.room'],
  [['g', 's'], 'keys.studies'],
  [['j'], 'keys.next'],
  [['k'], 'keys.previous'],
  [['Enter'], 'keys.open'],
  [['r'], 'keys.reload'],
  [['c'], 'keys.consult'],
  [['Esc'], 'keys.close'],
];

export function KeysDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={t('keys.title')} onClose={onClose}>
      <dl className="keys">
        {KEYS.map(([keys, meaning]) => (
          <>
            <dt key={meaning}>
              {keys.map((key) => (
                <Kbd key={key}>{key}</Kbd>
              ))}
            </dt>
            <dd>{t(meaning)}</dd>
          </>
        ))}
      </dl>
    </Dialog>
  );
}
