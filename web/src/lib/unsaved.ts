/**
 * What this tab holds that no server has yet: names and whose they are; the text itself stays with its keeper, in memory.
 * While there is any, closing the tab asks first, and signing out asks whether it may be lost.
 */
import { signal } from '@preact/signals';

/** Name of each unsaved thing -> id of the person it belongs to. */
export const unsaved = signal<ReadonlyMap<string, string>>(new Map());
const keepers = new Set<(owner: string) => void>();

const stay = (event: BeforeUnloadEvent) => event.preventDefault();

/** The name of one person's text of one report. */
export function reportName(owner: string, reportId: string): string {
  return `report ${reportId} of ${owner}`;
}

/** State whether `name` is unsaved now. */
export function setUnsaved(name: string, owner: string, on: boolean): void {
  if (unsaved.peek().has(name) === on) return;
  const all = new Map(unsaved.peek());
  if (on) all.set(name, owner);
  else all.delete(name);
  unsaved.value = all;
  if (all.size > 0) addEventListener('beforeunload', stay);
  else removeEventListener('beforeunload', stay);
}

export function hasUnsaved(owner: string): boolean {
  return [...unsaved.value.values()].includes(owner);
}

/** Register what a keeper does when a person signs out and gives up what is unsaved. */
export function onDropUnsaved(drop: (owner: string) => void): void {
  keepers.add(drop);
}

export function dropUnsaved(owner: string): void {
  for (const drop of keepers) drop(owner);
}
