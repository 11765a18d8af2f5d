/** Choose the site whose picture a live consultation shows; drawn only for those who may list sites. */
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { useResource } from '@/lib/resource';
import { may } from '@/lib/roles';
import type { Page, Site } from '@/protocol/types';
import { Field } from './Form';

export function SitePicker({ value, onPick }: { value: string; onPick: (siteId: string) => void }) {
  const allowed = may('site.read');
  const { value: page } = useResource(allowed ? 'sites' : null, (signal) =>
    api.get<Page<Site>>('/api/v1/sites', { signal }),
  );
  if (!allowed) return null;
  const sites = (page?.items ?? []).filter((site) => site.state === 'enrolled');
  return (
    <Field label={t('picker.site')} hint={t('picker.site.hint')}>
      {(id, describedBy) => (
        <select
          id={id}
          className="input"
          aria-describedby={describedBy}
          value={value}
          onChange={(event) => onPick(event.currentTarget.value)}
        >
          <option value="">{t('picker.site.default')}</option>
          {sites.map((site) => (
            <option key={site.id} value={site.id}>
              {site.name} · {t(site.online ? 'site.online' : 'site.offline')}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}
