/** Make a one-time enrolment code, for a new site or (after a re-installation) for a known one. Shown once. */
import { useEffect, useState } from 'react';
import { Button, Dialog, Field, Notice, notify, ProblemNotice } from '@/kit';
import { useAction } from '@/lib/action';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { clock } from '@/lib/when';
import type { Site } from '@/protocol/types';

function Code({ made, onClose }: { made: Site; onClose: () => void }) {
  const code = made.enrolment_code ?? '';
  const copy = () =>
    navigator.clipboard.writeText(code).then(
      () => notify(t('enrol.copied')),
      () => notify(t('enrol.copy_failed'), 'warn'),
    );
  return (
    <>
      <p>{t('enrol.text', { name: made.name })}</p>
      <output className="enrol-code mono">{code}</output>
      <p className="soft small">
        {t('enrol.once')} {made.code_expires_at && t('enrol.until', { time: clock(made.code_expires_at) })}
      </p>
      <pre className="enrol-command mono">
        <code>{`consilium site run --server ${location.origin} --code ${code}`}</code>
      </pre>
      <div className="dialog-actions">
        <Button icon="copy" onClick={() => void copy()}>
          {t('enrol.copy')}
        </Button>
        <Button variant="primary" onClick={onClose}>
          {t('enrol.done')}
        </Button>
      </div>
    </>
  );
}

export function EnrolDialog({ site, onClose }: { site: Site | null; onClose: () => void }) {
  const [name, setName] = useState('');
  const [made, setMade] = useState<Site | null>(null);
  const { busy, problem, run } = useAction();

  const create = () => run(async () => setMade(await api.post<Site>('/api/v1/sites', { name: name.trim() })));
  const again = (known: Site) =>
    run(async () => {
      const answer = await api.post<Partial<Site>>(`/api/v1/sites/${encodeURIComponent(known.id)}/enrolment-codes`, {});
      setMade({ ...known, ...answer });
    });
  useEffect(() => {
    if (site) void again(site);
  }, []);

  return (
    <Dialog title={t(site ? 'site.new_code' : 'sites.add')} onClose={onClose}>
      {made && <Code made={made} onClose={onClose} />}
      {problem && <ProblemNotice problem={problem} onRetry={site ? () => void again(site) : undefined} />}
      {!made && site && busy && <Notice>{t('state.loading')}</Notice>}
      {!made && !site && (
        <form
          className="stack"
          onSubmit={(event) => {
            event.preventDefault();
            void create();
          }}
        >
          <Field label={t('enrol.name')} hint={t('enrol.name.hint')}>
            {(id, describedBy) => (
              <input
                id={id}
                className="input"
                required
                autoFocus
                maxLength={128}
                aria-describedby={describedBy}
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
              />
            )}
          </Field>
          <div className="dialog-actions">
            <Button onClick={onClose}>{t('action.cancel')}</Button>
            <Button type="submit" variant="primary" busy={busy} disabled={name.trim() === ''}>
              {t('enrol.create')}
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
