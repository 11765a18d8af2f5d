/**
 * The server's sentences in the reader's language. The server writes English, with its facts; a Chinese reader gets the
 * sentence of the problem's code, and the server's own where the code is none of these. Typed by `ShownCode`: a code
 * that people meet cannot be left without Chinese words, and tests/web/test_problem_words.py finds codes that are missing.
 */
import { language } from './i18n';
import type { ProblemDocument } from './problem';

let zh: Record<string, string> | null = null;

/** Load the Chinese sentences; with the Chinese catalogue, before the first words. */
export async function loadSentences(): Promise<void> {
  zh ??= (await import('./i18n/problems-zh-CN')).problemsZh;
}

/** What the server said, in the language of the page. */
export function sentence(problem: Pick<ProblemDocument, 'code' | 'detail' | 'facts'>): string {
  if (language.value !== 'zh-CN' || !zh) return problem.detail;
  return zh[`${problem.code}:${String(problem.facts['rule'])}`] ?? zh[problem.code] ?? problem.detail;
}
