/** A list opened again while the server cannot be reached stands with its time; another person never sees it. */
import { render } from 'preact';
import { act } from 'preact/test-utils';
import { afterEach, expect, it, vi } from 'vitest';
import { auth } from '@/lib/auth';
import { ApiError } from '@/lib/problem';
import { useResource, type Resource } from '@/lib/resource';
import type { User } from '@/protocol/types';

vi.mock('@/lib/events', () => ({ listen: () => () => undefined }));

const root = document.createElement('div');
const signIn = (id: string, token = 'x') => {
  auth.value = { kind: 'in', token, user: { id } as User, expiresAt: Infinity };
};
let seen: Resource<string> | null = null;
let fetcher: () => Promise<string>;
function Reader() {
  seen = useResource('list', () => fetcher(), { on: ['room.changed'], remember: true }).resource;
  return null;
}
async function open(): Promise<Resource<string> | null> {
  await act(() => render(<Reader />, root));
  await vi.waitFor(() => expect(seen?.kind).not.toBe('loading'));
  return seen;
}
afterEach(() => act(() => render(null, root)));

it('keeps the last list beyond its page, for its reader alone', async () => {
  signIn('lan');
  fetcher = async () => 'rooms';
  await open();
  await act(() => render(null, root));
  signIn('lan', 'refreshed');
  fetcher = () => Promise.reject(new ApiError({ kind: 'offline' }));
  expect(await open()).toMatchObject({ kind: 'failed', stale: { value: 'rooms' } });
  await act(() => render(null, root));
  signIn('wu');
  expect(await open()).toMatchObject({ kind: 'failed', stale: null });
});
