/** The list of keys, loaded when it is asked for. */
import { Dialog } from '@/kit';
import { KeyList } from '@/kit/KeyList';
import { t, type MessageKey } from '@/lib/i18n/app';

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
      <KeyList rows={KEYS.map(([keys, meaning]) => [keys, t(meaning)])} />
    </Dialog>
  );
}
