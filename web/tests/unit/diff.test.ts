import { describe, expect, it } from 'vitest';
import { tokens, wordDiff } from '@/lib/diff';

const before = (a: string, b: string) =>
  wordDiff(a, b)
    .filter((piece) => piece.kind !== 'added')
    .map((piece) => piece.text)
    .join('');
const after = (a: string, b: string) =>
  wordDiff(a, b)
    .filter((piece) => piece.kind !== 'removed')
    .map((piece) => piece.text)
    .join('');

describe('word difference', () => {
  it('marks a changed word and leaves the rest alone', () => {
    expect(wordDiff('Control in 6 months.', 'Control in 12 months.')).toEqual([
      { kind: 'same', text: 'Control in ' },
      { kind: 'removed', text: '6' },
      { kind: 'added', text: '12' },
      { kind: 'same', text: ' months.' },
    ]);
  });

  it('compares Chinese by character and measurements as a whole', () => {
    expect(tokens('肝S6段32.5mm结节')).toEqual(['肝', 'S6', '段', '32.5mm', '结', '节']);
    expect(wordDiff('未见结节', '可见结节')[0]).toEqual({ kind: 'removed', text: '未' });
  });

  it.each([
    ['', ''],
    ['', 'new'],
    ['gone', ''],
    ['a b c d', 'a x c y d'],
    ['same line\n\nsame end', 'same line\nother\nsame end'],
    ['肝脏大小正常。', '肝脏略大，S6 段见 32 x 28 mm 病灶。'],
  ])('gives back both texts whole: %j -> %j', (a, b) => {
    expect(before(a, b)).toBe(a);
    expect(after(a, b)).toBe(b);
  });

  it('stays whole for texts too long to compare token by token', () => {
    const [a, b] = ['x '.repeat(3000), 'y '.repeat(3000)];
    expect(before(a, b)).toBe(a);
    expect(after(a, b)).toBe(b);
  });
});
