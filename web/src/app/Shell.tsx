/** The frame around every page: top bar, phone tab bar, link state, the list of keys. */
import { useCallback, useEffect, useMemo, useRef, useState, type ComponentChildren, type ComponentType } from 'react';
import { Link, useLocation } from 'wouter';
import { Button, Chip } from '@/kit/base';
import { notify } from '@/kit/Toasts';
import { Icon, type IconName } from '@/kit/Icon';
import { signOut, user } from '@/lib/auth';
import { link, listen } from '@/lib/events';
import { LANGUAGES, language } from '@/lib/i18n';
import { setLanguage, t, type MessageKey } from '@/lib/i18n/app';
import { useKeys } from '@/lib/keys';
import { may } from '@/lib/roles';
import { theme, THEMES } from '@/lib/theme';
import { dropUnsaved, hasUnsaved } from '@/lib/unsaved';
import { Logo } from '@/kit/Logo';

interface Place {
  href: string;
  icon: IconName;
  label: MessageKey;
}

function places(): Place[] {
  const list: Place[] = [{ href: '/', icon: 'home', label: 'nav.home' }];
  if (may('quarantine.read')) list.push({ href: '/quarantine', icon: 'warn', label: 'nav.quarantine' });
  if (may('site.read')) list.push({ href: '/sites', icon: 'sites', label: 'nav.sites' });
  if (may('audit.read')) list.push({ href: '/audit', icon: 'audit', label: 'nav.audit' });
  return list;
}

function NavLinks({ phone }: { phone?: boolean }) {
  const [path] = useLocation();
  return (
    <>
      {places().map((place) => (
        <Link key={place.href} href={place.href} aria-current={path === place.href ? 'page' : undefined}>
          {phone && <Icon name={place.icon} />}
          {t(place.label)}
        </Link>
      ))}
    </>
  );
}

type KeysDialog = ComponentType<{ onClose: () => void }>;

export function nextLanguage(): void {
  const next = LANGUAGES[(LANGUAGES.indexOf(language.value) + 1) % LANGUAGES.length] ?? 'en';
  void setLanguage(next);
}

/** Sign out; ask first when report text would be lost, and say so when the server did not hear of it. */
async function leave(owner: string): Promise<void> {
  if (hasUnsaved(owner) && !confirm(t('signout.unsaved'))) return;
  try {
    await signOut();
    dropUnsaved(owner);
  } catch {
    notify(t('signout.failed'), 'bad');
  }
}

function UserMenu({ onKeys }: { onKeys: () => void }) {
  const person = user.value;
  const menu = useRef<HTMLDivElement>(null);
  if (!person) return null;
  const close = () => menu.current?.hidePopover();
  return (
    <>
      <button type="button" className="btn btn-quiet user" popovertarget="user-menu">
        <span className="avatar" aria-hidden="true">
          {[...person.name]
            .slice(0, /[^\x00-\x7f]/.test(person.name) ? 1 : 2)
            .join('')
            .toUpperCase()}
        </span>
        <span className="user-name">{person.name}</span>
      </button>
      <div className="menu" id="user-menu" popover="auto" ref={menu}>
        <div className="menu-who">
          <strong>{person.name}</strong>
          <span className="soft small">{t(`role.${person.role}`)}</span>
        </div>
        <hr />
        <button type="button" className="menu-row" onClick={nextLanguage}>
          <Icon name="language" />
          {t('nav.other_language')}
        </button>
        {THEMES.map((name) => (
          <button
            key={name}
            type="button"
            className="menu-row"
            aria-pressed={theme.value === name}
            onClick={() => (theme.value = name)}
          >
            <Icon name={theme.value === name ? 'check' : 'contrast'} />
            {t(`theme.${name}`)}
          </button>
        ))}
        <button
          type="button"
          className="menu-row hide-phone"
          onClick={() => {
            close();
            onKeys();
          }}
        >
          <Icon name="keys" />
          {t('keys.title')}
        </button>
        <hr />
        <button type="button" className="menu-row" onClick={() => void leave(person.id)}>
          <Icon name="out" />
          {t('nav.sign_out')}
        </button>
      </div>
    </>
  );
}

function LinkChip({ offline }: { offline: boolean }) {
  switch (offline ? 'waiting' : link.value) {
    case 'open':
      return (
        <Chip tone="ok" dot>
          {t('link.open')}
        </Chip>
      );
    case 'waiting':
    case 'connecting':
    case 'idle':
      return (
        <Chip tone="warn" dot>
          {t(offline ? 'link.offline' : 'link.waiting')}
        </Chip>
      );
  }
}

/** True while the browser says that it has no network. */
function useOffline(): boolean {
  const [offline, setOffline] = useState(!navigator.onLine);
  useEffect(() => {
    const read = () => setOffline(!navigator.onLine);
    addEventListener('online', read);
    addEventListener('offline', read);
    return () => {
      removeEventListener('online', read);
      removeEventListener('offline', read);
    };
  }, []);
  return offline;
}

export function Shell({ children }: { children: ComponentChildren }) {
  const [path, go] = useLocation();
  const [KeysDialog, setKeysDialog] = useState<KeysDialog | null>(null);
  const offline = useOffline();
  const full = /^\/(rooms|studies)\//.test(path); // these pages use the whole window
  const showKeys = useCallback(() => {
    void import('./KeysDialog').then((module) => setKeysDialog(() => module.KeysDialog));
  }, []);
  useEffect(() => listen(() => undefined), []);
  const keys = useMemo(
    () => ({
      '?': showKeys,
      'g h': () => go('/'),
      'g r': () => go('/#live'),
      'g s': () => go('/#studies'),
    }),
    [go, showKeys],
  );
  useKeys(keys);
  return (
    <>
      <a className="skip" href="#main">
        {t('nav.skip')}
      </a>
      <header className="topbar">
        <Link href="/" className="brand">
          <Logo />
          <span className={full ? 'hide-phone' : ''}>Consilium</span>
        </Link>
        <nav className="topnav hide-phone" aria-label={t('nav.main')}>
          <NavLinks />
        </nav>
        <span className="grow" />
        <LinkChip offline={offline} />
        <Button variant="quiet" className="hide-phone" onClick={nextLanguage} icon="language">
          {t('nav.other_language')}
        </Button>
        <UserMenu onKeys={showKeys} />
      </header>
      {offline && (
        <p className="strip" role="status">
          <Icon name="offline" />
          {t('state.offline')}
        </p>
      )}
      <main id="main" tabIndex={-1} className={full ? 'page-wide' : undefined}>
        {children}
      </main>
      {!full && (
        <nav className="tabbar only-phone" aria-label={t('nav.main')}>
          <NavLinks phone />
        </nav>
      )}
      {KeysDialog && <KeysDialog onClose={() => setKeysDialog(null)} />}
    </>
  );
}
