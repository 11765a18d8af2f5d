import { afterEach, expect, it } from 'vitest';
import { setLanguage } from '@/lib/i18n/app';
import { ApiError, classify, readProblem } from '@/lib/problem';
import { reasonOf } from '@/lib/reason';

const refused = (body: object) => new ApiError(classify(readProblem(403, body), null));
afterEach(() => setLanguage('en'));

it('tells the server’s sentence in English and the code’s sentence in Chinese', async () => {
  const wrong = refused({ code: 'signature-refused', rule: 'wrong password', detail: 'The password is not right.' });
  expect(reasonOf(wrong)).toBe('The password is not right.');
  await setLanguage('zh-CN');
  expect(reasonOf(wrong)).toBe('密码不正确，未签署任何内容。');
  expect(reasonOf(refused({ code: 'signature-refused', rule: 'grade', detail: 'x' }))).toContain('职级');
  expect(reasonOf(refused({ code: 'denied', permission: 'audit.read', detail: 'x' }))).toBe('您的角色没有此权限。');
});

it('falls back to the server’s sentence for a code without words', async () => {
  await setLanguage('zh-CN');
  expect(reasonOf(refused({ code: 'brand-new', detail: 'Its own sentence.' }))).toBe('Its own sentence.');
});
