/** Why the page could not find out who is signed in, if it could not. */
import { signal } from '@preact/signals';
import type { Problem } from '@/lib/problem';

export const startProblem = signal<Problem | null>(null);
