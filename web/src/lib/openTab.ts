/** Open what only the bearer of a token may fetch (a print, a receipt) in a new tab. */
import { fetchBlob } from './api';

/** Fetch the page and open it; its object URL lives as long as that tab needs to read it. */
export async function openTab(path: string): Promise<void> {
  const url = URL.createObjectURL(await fetchBlob(path));
  const anchor = document.createElement('a');
  anchor.href = url;
  anchor.target = '_blank';
  anchor.rel = 'noopener';
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
