/** The priors of a consultation: which, why and how far, in the page's language; asked again only while something is on its way. */
import { render } from 'preact';
import { act } from 'preact/test-utils';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Priors } from '@/features/consultation/Priors';
import { language } from '@/lib/i18n';
import { setLanguage } from '@/lib/i18n/app';
import { ApiError } from '@/lib/problem';

const asked = vi.hoisted(() => vi.fn());
vi.mock('@/lib/events', () => ({ listen: () => () => undefined }));
vi.mock('@/lib/api', () => ({ api: { get: asked } }));

const reason = { code: 'same-modality', text_en: 'Same modality', text_zh: '设备类型相同' };
const prior = (state: string, more: object = {}) => ({
  study_uid: '1.2.3',
  study_date: '20240311',
  study_time: '',
  description: 'Chest',
  modalities: ['CT'],
  instances: 3,
  reason,
  state,
  problem: null,
  size_bytes: 200,
  hot_bytes: state === 'hot' ? 200 : 50,
  chosen_at: '2030-01-01T00:00:00Z',
  hot_at: null,
  again_at: null,
  ...more,
});
const page = (...items: object[]) => ({ items, next_cursor: null, consultation_id: 'c1', fetching: true });

const root = document.createElement('div');
document.body.append(root);
/** Let time pass in steps of a second: what a step changed has its effects before the next. */
async function pass(seconds: number): Promise<void> {
  for (let n = 0; n <= seconds; n += 1) {
    await act(async () => {
      await vi.advanceTimersByTimeAsync(n === 0 ? 0 : 1000);
    });
  }
  await act(async () => {
    await vi.advanceTimersByTimeAsync(0);
  });
}
async function open(): Promise<void> {
  await act(() => render(<Priors studyUid="1.2" consultationId="c1" />, root));
  await pass(0);
}

beforeEach(() => {
  vi.useFakeTimers();
  asked.mockReset();
});
afterEach(async () => {
  await act(() => render(null, root));
  vi.useRealTimers();
  await setLanguage('en');
});

it('shows a prior with state and reason, and follows it until it is ready', async () => {
  await setLanguage('en');
  asked.mockResolvedValueOnce(page(prior('partly'))).mockResolvedValue(page(prior('hot')));
  await open();
  expect(root.textContent).toContain('Same modality');
  expect(root.textContent).toContain('25 % ready');
  expect(root.querySelector('a')?.getAttribute('href')).toBe('/studies/1.2.3');
  await pass(5);
  expect(root.querySelector('[data-state=hot]')?.textContent).toContain('Ready');
  await pass(60);
  expect(asked).toHaveBeenCalledTimes(2);
  language.value = 'zh-CN';
  await pass(0);
  expect(root.textContent).toContain('设备类型相同');
  expect(root.textContent).toContain('已就绪');
});

it.each([
  ['original-archived', 'waiting', 'archive: hours'],
  ['hot-tier-full', 'failed', 'no room'],
  ['blobs-unavailable', 'failed', 'tried again'],
])('says what keeps a prior from being ready: %s', async (problem, state, words) => {
  await setLanguage('en');
  asked.mockResolvedValue(page(prior(state, { problem })));
  await open();
  expect(root.textContent).toContain(words);
});

it('is not there without a consultation, and asks a few times whether priors were chosen', async () => {
  asked.mockResolvedValue({ items: [], next_cursor: null, consultation_id: null, fetching: false });
  await open();
  expect(root.textContent).toBe('');
  await pass(120);
  expect(asked).toHaveBeenCalledTimes(4);
});

it('is asked after longer and longer pauses, and not at all once nothing is fetched any more', async () => {
  await setLanguage('en');
  asked.mockResolvedValue(page(prior('waiting')));
  await open();
  await pass(600);
  expect(asked.mock.calls.length).toBeGreaterThan(8);
  expect(asked.mock.calls.length).toBeLessThan(20);
  asked.mockReset();
  asked.mockResolvedValue({ ...page(prior('partly')), fetching: false });
  await pass(60);
  expect(root.textContent).toContain('Not kept ready');
  await pass(600);
  expect(asked).toHaveBeenCalledTimes(1);
  language.value = 'zh-CN';
  await pass(0);
  expect(root.textContent).toContain('未预先保留');
});

it('leaves alone what is being restored until it should be back', async () => {
  const back = new Date(Date.now() + 3_600_000).toISOString();
  const cold = prior('waiting', { problem: 'original-archived', again_at: back });
  asked.mockResolvedValueOnce(page(cold)).mockResolvedValue(page(prior('hot')));
  await open();
  await pass(3500);
  expect(asked).toHaveBeenCalledTimes(1);
  await pass(200);
  expect(root.querySelector('[data-state=hot]')).not.toBeNull();
});

it('asks again after it could not be asked, and not where asking does not help', async () => {
  const lost = new ApiError({ kind: 'offline' });
  asked
    .mockResolvedValueOnce(page(prior('partly')))
    .mockRejectedValueOnce(lost)
    .mockRejectedValueOnce(lost);
  asked.mockResolvedValue(page(prior('hot')));
  await open();
  await pass(60);
  expect(root.querySelector('[data-state=hot]')).not.toBeNull();
  await act(() => render(null, root));
  asked.mockReset();
  const document = { type: 'about:blank', title: '', status: 403, detail: 'no', code: 'denied', facts: {} };
  asked.mockRejectedValue(new ApiError({ kind: 'denied', problem: document }));
  await open();
  await pass(600);
  expect(asked).toHaveBeenCalledTimes(1);
});
