/**
 * Word differences between two texts. Latin words, numbers and runs of blanks are one token each; each Chinese,
 * Japanese or Korean character is its own. The longest common subsequence is found after equal ends are cut off;
 * texts too long for that (more than CELLS token pairs) differ as a whole in the middle.
 */
export interface Piece {
  kind: 'same' | 'added' | 'removed';
  text: string;
}

const CELLS = 4_000_000;
const OWN = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]`;
const TOKEN = new RegExp(String.raw`${OWN}|(?:(?!${OWN})[\p{L}\p{N}_]|[.,](?=\p{N}))+|\s+|[^\s]`, 'gu');

export function tokens(text: string): string[] {
  return text.match(TOKEN) ?? [];
}

function push(pieces: Piece[], kind: Piece['kind'], text: string): void {
  const last = pieces.at(-1);
  if (last?.kind === kind) last.text += text;
  else if (text !== '') pieces.push({ kind, text });
}

function middle(a: readonly string[], b: readonly string[], pieces: Piece[]): void {
  if (a.length === 0 || b.length === 0 || a.length * b.length > CELLS) {
    push(pieces, 'removed', a.join(''));
    push(pieces, 'added', b.join(''));
    return;
  }
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width); // longest[i][j]: common tokens of a[i:] and b[j:]
  const at = (i: number, j: number) => longest[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      push(pieces, 'same', a[i] ?? '');
      i++;
      j++;
    } else if (i < a.length && (j >= b.length || at(i + 1, j) >= at(i, j + 1))) {
      push(pieces, 'removed', a[i++] ?? '');
    } else {
      push(pieces, 'added', b[j++] ?? '');
    }
  }
}

/** How `before` becomes `after`, in reading order. */
export function wordDiff(before: string, after: string): Piece[] {
  const [a, b] = [tokens(before), tokens(after)];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const pieces: Piece[] = [];
  push(pieces, 'same', a.slice(0, head).join(''));
  middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail), pieces);
  push(pieces, 'same', a.slice(a.length - tail).join(''));
  return pieces;
}
