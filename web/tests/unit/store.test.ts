import { describe, expect, it } from 'vitest';
import { openRooms } from '@/features/home/LiveNow';
import { firstDay } from '@/features/home/useStudies';
import { parseEventStream } from '@/lib/events';
import { personName, readableName, splitIdeographic } from '@/lib/names';
import { language } from '@/lib/i18n';
import { joinPages } from '@/lib/pages';
import { roleMay } from '@/lib/roles';
import { bytes } from '@/lib/units';
import { ageYears, calendarDate, distance, howLong } from '@/lib/when';
import { openWork } from '@/lib/work';
import type { Consultation, Room } from '@/protocol/types';

const NOW = Date.UTC(2026, 0, 1, 12);
const at = (minutes: number) => new Date(NOW + minutes * 60_000).toISOString();

describe('work', () => {
  const work = (id: string, urgency: Consultation['urgency'], due: number, state = 'requested') =>
    ({ id, urgency, state, due_at: at(due) }) as Consultation;

  it('puts the overdue first, then the urgent, then the sooner due; what is over is left out', () => {
    const list = [
      work('later', 'routine', 60),
      work('stat', 'stat', 5),
      work('late', 'routine', -1),
      work('sooner', 'routine', 30),
      work('done', 'stat', 1, 'completed'),
    ];
    expect(openWork(list, NOW).map((entry) => entry.id)).toEqual(['late', 'stat', 'sooner', 'later']);
  });
});

describe('rooms', () => {
  it('shows live ones first and never an ended one', () => {
    const room = (id: string, state: Room['state'], waiting_since: string | null = null) =>
      ({ id, state, waiting_since }) as Room;
    const list = [
      room('p', 'planned'),
      room('e', 'ended'),
      room('l2', 'lobby', at(-1)),
      room('live', 'live'),
      room('l1', 'lobby', at(-9)),
    ];
    expect(openRooms(list).map((entry) => entry.id)).toEqual(['live', 'l1', 'l2', 'p']);
  });
});

describe('lists in pages', () => {
  it('count an entry once when the list shifted between two pages', () => {
    expect(joinPages(['a', 'b'], ['b', 'c'], String)).toEqual(['a', 'b', 'c']);
  });
});

describe('event stream', () => {
  it('gives complete messages and keeps the unfinished rest', () => {
    const first = parseEventStream(': open\n\nevent: room.changed\ndata: {"a":1}\n\ndata: {"b"');
    expect(first).toEqual({ messages: ['{"a":1}'], rest: 'data: {"b"' });
    expect(parseEventStream(`${first.rest}:2}\r\n\r\n`)).toEqual({ messages: ['{"b":2}'], rest: '' });
  });
});

describe('names', () => {
  const lin = { family: 'Lin', given: 'Xiaomei', ideographic: '林^晓梅' };

  it('lead with the script of the page', () => {
    language.value = 'en';
    expect(personName(lin)).toEqual({ first: 'Lin Xiaomei', second: '林晓梅' });
    language.value = 'zh-CN';
    expect(personName(lin)).toEqual({ first: '林晓梅', second: 'Lin Xiaomei' });
    language.value = 'en';
  });

  it('show one script once', () => {
    expect(personName({ family: '林晓梅', given: '', ideographic: '林^晓梅' })).toEqual({
      first: '林晓梅',
      second: null,
    });
  });

  it('split Chinese names, two-character family names too', () => {
    expect(['林晓梅', '欧阳娜娜', '上官 云', '陈^雨桐', 'Aygul'].map(splitIdeographic)).toEqual([
      '林^晓梅',
      '欧阳^娜娜',
      '上官^云',
      '陈^雨桐',
      'Aygul',
    ]);
    expect(readableName('Van^Anna^M^^')).toBe('Van Anna M');
  });
});

describe('time and size', () => {
  it('reads DICOM and ISO dates and leaves other text alone', () => {
    expect(calendarDate('20260102')).toBe(calendarDate('2026-01-02'));
    expect(calendarDate('unknown')).toBe('unknown');
    expect(calendarDate(null)).toBe('');
  });

  it('counts whole years', () => {
    expect(ageYears('19800601', new Date(2020, 4, 31))).toBe(39);
    expect(ageYears('19800601', new Date(2020, 5, 1))).toBe(40);
    expect(ageYears('')).toBeNull();
  });

  it('says how far and how long', () => {
    expect(distance(at(-3), NOW)).toBe('3 min. ago');
    expect(howLong(at(-125), NOW)).toBe('2 hours');
  });

  it('writes bytes in a readable unit', () => {
    expect([0, 999, 48_300_112].map(bytes)).toEqual(['0 byte', '999 byte', '48.3 MB']);
  });

  it('starts a span at the right local day', () => {
    expect(firstDay('week', new Date(2026, 2, 3, 23, 59))).toBe('2026-02-24');
    expect(firstDay('any')).toBeNull();
  });
});

describe('roles', () => {
  it('offer nothing that the table does not grant', () => {
    expect(roleMay('trainee', 'report.sign')).toBe(false);
    expect(roleMay('reviewer', 'report.sign')).toBe(true);
    expect(roleMay('referrer', 'consult.request')).toBe(true);
  });
});
