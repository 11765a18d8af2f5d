/** Start: words, theme and the session in parallel, then the first picture. */
import { render } from 'preact';
import './styles/index.css';
import { App } from './app/App';
import { refresh } from './lib/auth';
import { language } from './lib/i18n';
import { loadCatalogue, setLanguage } from './lib/i18n/app';
import { applyTheme } from './lib/theme';
import { startProblem } from './app/start';
import { asProblem } from './lib/problem';

applyTheme();
const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');

if (location.pathname === '/') void import('./features/home/HomePage').catch(() => undefined); // its chunk travels while the session is asked for
const session = refresh().catch((error: unknown) => {
  startProblem.value = asProblem(error);
});
await loadCatalogue(language.value).catch(() => loadCatalogue('en'));
await setLanguage(language.value);
render(<App />, root);
await session;
