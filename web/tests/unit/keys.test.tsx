import { render } from 'preact';
import { act } from 'preact/test-utils';
import { afterEach, expect, it, vi } from 'vitest';
import { useKeys, type KeyMap } from '@/lib/keys';
import { usePageKeys } from '@/lib/pageKeys';

function Binder({ keys, children }: { keys: KeyMap; children?: preact.ComponentChildren }) {
  useKeys(keys);
  return <div>{children}</div>;
}

let clock = 1000;
function press(key: string, target: EventTarget = document.body, after_ms = 100): void {
  const event = new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true });
  Object.defineProperty(event, 'timeStamp', { value: (clock += after_ms) });
  target.dispatchEvent(event);
}

const root = document.createElement('div');
document.body.append(root);
afterEach(() => act(() => render(null, root)));

it('gives a sequence to the shell alone and a single key to the page', async () => {
  const [home, reload, search] = [vi.fn(), vi.fn(), vi.fn()];
  await act(() =>
    render(
      <Binder keys={{ 'g r': home }}>
        <Binder keys={{ r: reload, '/': search }}>
          <input />
        </Binder>
      </Binder>,
      root,
    ),
  );
  press('g');
  press('r');
  expect([home.mock.calls.length, reload.mock.calls.length]).toEqual([1, 0]);
  press('r');
  expect([home.mock.calls.length, reload.mock.calls.length]).toEqual([1, 1]);
  press('g');
  press('r', document.body, 5000); // too late for a sequence
  expect([home.mock.calls.length, reload.mock.calls.length]).toEqual([1, 2]);
  press('/', root.querySelector('input') ?? root); // somebody types
  expect(search).not.toHaveBeenCalled();
});

it('leaves the second key of a sequence to the shell, although a page binds it for itself', async () => {
  const [home, mirror] = [vi.fn(), vi.fn()];
  const shell: KeyMap = { 'g h': home };
  const page: KeyMap = { h: mirror };
  function Page() {
    usePageKeys(page);
    return null;
  }
  await act(() =>
    render(
      <Binder keys={shell}>
        <Page />
      </Binder>,
      root,
    ),
  );
  press('h', document.body, 5000);
  expect([home.mock.calls.length, mirror.mock.calls.length]).toEqual([0, 1]);
  press('g');
  press('h');
  expect([home.mock.calls.length, mirror.mock.calls.length]).toEqual([1, 1]);
  press('h');
  expect(mirror).toHaveBeenCalledTimes(2);
});
