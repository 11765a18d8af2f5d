/** The room's dialogs: its keys, and the question before it is ended for everybody. */
import { Button, Dialog } from '@/kit';
import { KeyList } from '@/kit/KeyList';
import { attempt } from './attempt';
import type { RoomSession } from './session';
import { r, type RoomWord } from './words';

const KEYS: readonly [string, RoomWord][] = [
  ['m', 'key_m'],
  ['v', 'key_v'],
  ['space', 'key_space'],
  ['f', 'key_f'],
  ['d', 'key_d'],
  ['1–4', 'key_14'],
  ['t', 'key_t'],
  ['p', 'key_p'],
  ['z', 'key_z'],
  ['e', 'key_e'],
  ['h', 'key_h'],
  ['k', 'key_k'],
  ['c', 'key_c'],
  ['s', 'key_s'],
  ['n', 'key_n'],
  ['Esc', 'key_esc'],
  ['g h', 'key_g'],
];

export function RoomKeys({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={r('keys')} onClose={onClose}>
      <KeyList rows={KEYS.map(([key, meaning]) => [[key], r(meaning)])} />
    </Dialog>
  );
}

export function EndDialog({ session, onClose }: { session: RoomSession; onClose: () => void }) {
  return (
    <Dialog title={r('end_sure')} onClose={onClose}>
      <p>{r('end_sure_text', { n: session.people.value.length })}</p>
      <div className="dialog-actions">
        <Button onClick={onClose}>{r('cancel')}</Button>
        <Button
          variant="danger"
          data-testid="btn-end-sure"
          onClick={() => {
            attempt(session.end());
            onClose();
          }}
        >
          {r('end_room')}
        </Button>
      </div>
    </Dialog>
  );
}
