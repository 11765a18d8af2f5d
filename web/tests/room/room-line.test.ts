import { beforeAll, expect, it } from 'vitest';
import { roomLine } from '@/features/home/LiveNow';
import { loadCatalogue, setLanguage } from '@/lib/i18n/app';
import type { Room } from '@/protocol/types';

const at = (minutes: number) => new Date(Date.UTC(2026, 0, 1, 0, minutes)).toISOString();
const room = (more: Partial<Room>) => ({ id: 'r', state: 'lobby', waiting_since: at(0), ...more }) as Room;

beforeAll(async () => {
  await loadCatalogue('en');
  await setLanguage('en');
});

it('tells how long a live room runs, although people waited before; and how long a lobby waits', () => {
  const now = Date.parse(at(30));
  expect(roomLine(room({ state: 'live', started_at: at(20) }), now)).toMatch(/^Running for 10/);
  expect(roomLine(room({}), now)).toMatch(/^Waiting for 30/);
});
