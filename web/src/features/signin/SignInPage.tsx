/** Sign in, with the language in reach before anybody is known. Shown in place of whatever page was asked for. */
import { useRef, useState } from 'react';
import { Button, Field, Icon, Notice, ProblemNotice } from '@/kit';
import { Logo } from '@/kit/Logo';
import { auth, signIn } from '@/lib/auth';
import { LANGUAGES, language } from '@/lib/i18n';
import { setLanguage, t } from '@/lib/i18n/app';
import { asProblem, type Problem } from '@/lib/problem';
import './signin.css';

/** Each language in its own words: who cannot read the page can still find theirs. */
const NAMES = { en: 'English', 'zh-CN': '中文' } as const;

function LanguageSwitch() {
  return (
    <div className="segmented" role="group" aria-label={t('signin.language')}>
      {LANGUAGES.map((lang) => (
        <button
          key={lang}
          type="button"
          lang={lang}
          aria-pressed={language.value === lang}
          onClick={() => void setLanguage(lang)}
        >
          {NAMES[lang]}
        </button>
      ))}
    </div>
  );
}

function SignInForm() {
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const passwordInput = useRef<HTMLInputElement>(null);

  const send = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await signIn(username.trim(), password);
    } catch (error) {
      setProblem(asProblem(error));
      setPassword('');
      setBusy(false);
      passwordInput.current?.focus();
    }
  };

  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <Field label={t('signin.username')}>
        {(id) => (
          <input
            id={id}
            className="input"
            name="username"
            autoComplete="username"
            autoCapitalize="none"
            spellcheck={false}
            required
            autoFocus
            value={username}
            onInput={(event) => setUsername(event.currentTarget.value)}
          />
        )}
      </Field>
      <Field label={t('signin.password')}>
        {(id) => (
          <input
            id={id}
            ref={passwordInput}
            className="input"
            type="password"
            name="password"
            autoComplete="current-password"
            required
            value={password}
            onInput={(event) => setPassword(event.currentTarget.value)}
          />
        )}
      </Field>
      {problem &&
        (problem.kind === 'unauthenticated' ? (
          <Notice tone="bad" title={t('signin.refused')}>
            {t('signin.refused.text')}
          </Notice>
        ) : (
          <ProblemNotice problem={problem} />
        ))}
      <Button type="submit" variant="primary" large busy={busy}>
        {busy ? t('signin.busy') : t('signin.submit')}
      </Button>
    </form>
  );
}

export default function SignInPage() {
  const state = auth.value;
  return (
    <main className="signin">
      <section className="signin-side" aria-hidden="true">
        <div className="signin-rings">
          <svg viewBox="0 0 400 400">
            <g className="rings-a">
              {[40, 70, 100, 130].map((r) => (
                <circle key={r} cx="160" cy="200" r={r} />
              ))}
            </g>
            <g className="rings-b">
              {[40, 70, 100, 130].map((r) => (
                <circle key={r} cx="240" cy="200" r={r} />
              ))}
            </g>
            <path className="trace" d="M20 200h96l14-34 20 74 22-104 20 92 12-28h40l10-18 12 36 12-18h122" />
          </svg>
        </div>
        <p className="signin-claim">{t('signin.claim')}</p>
        <ul>
          <li>
            <Icon name="live" />
            {t('signin.point.live')}
          </li>
          <li>
            <Icon name="studies" />
            {t('signin.point.images')}
          </li>
          <li>
            <Icon name="pen" />
            {t('signin.point.report')}
          </li>
        </ul>
      </section>
      <section className="signin-card">
        <header>
          <span className="brand">
            <Logo />
            Consilium
          </span>
          <LanguageSwitch />
        </header>
        <div className="signin-form stack">
          <div>
            <h1>{t('signin.title')}</h1>
            <p className="soft">{t('signin.subtitle')}</p>
          </div>
          {state.kind === 'out' && state.reason === 'expired' && (
            <Notice tone="warn" title={t('signin.expired')}>
              {t('signin.expired.text')}
            </Notice>
          )}
          {state.kind === 'out' && state.reason === 'signed-out' && <Notice tone="ok">{t('signin.signed_out')}</Notice>}
          <SignInForm />
        </div>
        <footer className="faint small">{t('signin.audit')}</footer>
      </section>
    </main>
  );
}
