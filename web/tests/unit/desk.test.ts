/** Typed report text survives: leaving the page, a dead network, a session that ends, a reason not given, a conflict. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { openDesk, type Desk } from '@/features/report/desk';
import { auth } from '@/lib/auth';
import { ApiError, classify, readProblem } from '@/lib/problem';
import { dropUnsaved, hasUnsaved } from '@/lib/unsaved';
import type { Report, Role } from '@/protocol/types';

const api = vi.hoisted(() => ({ get: vi.fn(), putTagged: vi.fn() }));
vi.mock('@/lib/api', () => ({ api }));

const text = (findings: string) => ({ findings, impression: '', recommendation: '' });
const person = (id: string, role: Role = 'specialist') => ({ id, username: id, name: id, role, tenant: 't' });
const signIn = (id: string, role?: Role) => {
  auth.value = { kind: 'in', token: 'x', user: person(id, role), expiresAt: Infinity };
};
let serial = 0;
const report = (more: Partial<Report> = {}): Report => ({
  id: `r${serial}`,
  consultation_id: 'c1',
  patient: { id: 'p1', patient_id: 'X', name: { family: 'Lin', given: 'X' } },
  state: 'drafting',
  version: 1,
  etag: '"1"',
  sections: text('a'),
  language: 'en',
  author: { id: 'lan', name: 'Lan' },
  key_images: [],
  ...more,
});
const offline = () => api.putTagged.mockRejectedValue(new ApiError({ kind: 'offline' }));
const saves = () =>
  api.putTagged.mockImplementation(async (_: string, body: { sections: Report['sections'] }) => ({
    value: report({ version: 2, etag: '"2"', sections: body.sections }),
    etag: '"2"',
  }));
const write = (desk: Desk, findings: string) => desk.send({ type: 'edit', section: 'findings', text: findings });
/** Open the page, write, leave the page. */
async function writeAndLeave(desk: Desk, findings: string): Promise<boolean> {
  desk.enter();
  write(desk, findings);
  return desk.leave();
}

beforeEach(() => {
  vi.useFakeTimers();
  serial += 1;
  signIn('lan');
});
afterEach(() => {
  dropUnsaved('lan');
  dropUnsaved('wu');
  vi.useRealTimers();
  vi.resetAllMocks();
});

it('sends at once what was typed when its page goes, and keeps nothing', async () => {
  saves();
  expect(await writeAndLeave(openDesk(report()), 'b')).toBe(true);
  expect(api.putTagged).toHaveBeenCalledOnce();
  expect(hasUnsaved('lan')).toBe(false);
});

it('keeps text that cannot be sent for the next visit, warns before the tab closes, and sends it when the network is back', async () => {
  offline();
  expect(await writeAndLeave(openDesk(report()), 'b')).toBe(false);
  expect(hasUnsaved('lan')).toBe(true);
  const closing = new Event('beforeunload', { cancelable: true });
  dispatchEvent(closing);
  expect(closing.defaultPrevented).toBe(true);

  const again = openDesk(report());
  again.send({ type: 'arrived', report: report() });
  expect(again.draft.value).toMatchObject({ kind: 'dirty', text: { findings: 'b' } });

  saves();
  dispatchEvent(new Event('online'));
  await vi.advanceTimersByTimeAsync(0);
  expect(again.draft.value).toMatchObject({ kind: 'clean', saved: { version: 2, sections: { findings: 'b' } } });
  expect(hasUnsaved('lan')).toBe(false);
});

it('tries again by itself although its page has gone', async () => {
  offline();
  await writeAndLeave(openDesk(report()), 'b');
  saves();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(hasUnsaved('lan')).toBe(false);
});

it('keeps what a reviewer changed without a reason, and the reason once it is written', async () => {
  const review = report({ state: 'in_review', reviewer: { id: 'wu', name: 'Wu' } });
  signIn('wu', 'reviewer');
  expect(await writeAndLeave(openDesk(review), 'b')).toBe(false);
  expect(api.putTagged).not.toHaveBeenCalled();
  const again = openDesk(review);
  expect(again.draft.value.text.findings).toBe('b');
  api.putTagged.mockResolvedValue({ value: { ...review, version: 2, sections: text('b') }, etag: '"2"' });
  again.setReason('typing error');
  await vi.advanceTimersByTimeAsync(2_000);
  expect(api.putTagged.mock.calls[0]?.[1]).toMatchObject({ reason: 'typing error', sections: { findings: 'b' } });
});

it('keeps a conflict with both texts', async () => {
  const lost = new ApiError(classify(readProblem(412, { code: 'report-changed', detail: 'x' }), null));
  api.putTagged.mockRejectedValue(lost);
  api.get.mockImplementation(async () => report({ version: 2, etag: '"2"', sections: text('theirs') }));
  expect(await writeAndLeave(openDesk(report()), 'mine')).toBe(false);
  expect(openDesk(report()).draft.value).toMatchObject({
    kind: 'conflict',
    text: { findings: 'mine' },
    theirs: { sections: { findings: 'theirs' } },
  });
});

it('outlives a session that ends, unseen and unsent by the next person, and is thrown away when its writer signs out', async () => {
  offline();
  await writeAndLeave(openDesk(report()), 'b');
  auth.value = { kind: 'out', reason: 'expired' };
  saves();
  api.putTagged.mockClear();
  signIn('wu');
  expect(openDesk(report()).draft.value).toMatchObject({ kind: 'clean', text: { findings: 'a' } });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(api.putTagged).not.toHaveBeenCalled();
  signIn('lan');
  expect(openDesk(report()).draft.value.text.findings).toBe('b');
  dropUnsaved('lan');
  expect(openDesk(report()).draft.value.text.findings).toBe('a');
});

it('does not hammer the server with what it refused', async () => {
  api.putTagged.mockRejectedValue(new ApiError(classify(readProblem(409, { code: 'report-locked' }), null)));
  const desk = openDesk(report());
  await writeAndLeave(desk, 'b');
  await vi.advanceTimersByTimeAsync(60_000);
  expect(api.putTagged).toHaveBeenCalledOnce();
  expect(desk.draft.value).toMatchObject({ kind: 'dirty', text: { findings: 'b' } });
});

it('saves key images with the text and fits two people’s choices together', async () => {
  const image = (n: number) => ({ study_uid: '1.2', series_uid: '1.3', sop_instance_uid: `1.4.${n}`, frame: 1 });
  const desk = openDesk(report({ key_images: [image(1), image(2)] }));
  desk.enter();
  desk.send({ type: 'images', images: [image(2), image(3)] });
  desk.send({ type: 'arrived', report: report({ version: 2, key_images: [image(1), image(2), image(4)] }) });
  expect(desk.draft.value.images.map((one) => one.sop_instance_uid)).toEqual(['1.4.2', '1.4.4', '1.4.3']);
  api.putTagged.mockResolvedValue({
    value: report({ version: 3, key_images: [image(2), image(4), image(3)] }),
    etag: '"3"',
  });
  await vi.advanceTimersByTimeAsync(2_000);
  expect(api.putTagged.mock.calls[0]?.[1].key_images).toHaveLength(3);
  expect(desk.draft.value.kind).toBe('clean');
});
