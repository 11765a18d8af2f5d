/** One site: its state in plain words, its devices with their reasons, its spool, and what an administrator may do. */
import { useState } from 'react';
import { Link } from 'wouter';
import { Button, Chip, Dialog, Icon, Notice, notify, ProblemNotice, type Tone } from '@/kit';
import { useAction } from '@/lib/action';
import { api } from '@/lib/api';
import { t, type MessageKey } from '@/lib/i18n/app';
import { may } from '@/lib/roles';
import { bytes } from '@/lib/units';
import { dateTime, distance } from '@/lib/when';
import type { Device, Site } from '@/protocol/types';
import { EnrolDialog } from './EnrolDialog';

const DEVICE: Record<string, [Tone, MessageKey]> = {
  live: ['ok', 'device.live'],
  idle: ['neutral', 'device.idle'],
  no_signal: ['warn', 'device.no_signal'],
  error: ['bad', 'device.error'],
};
const CLOCK_TOLERANCE_MS = 250;

function StateChip({ site }: { site: Site }) {
  if (site.state === 'revoked') return <Chip tone="bad">{t('site.revoked')}</Chip>;
  if (site.state === 'pending') return <Chip tone="warn">{t('site.pending')}</Chip>;
  return (
    <Chip tone={site.online ? 'ok' : 'bad'} dot pulse={site.online}>
      {t(site.online ? 'site.online' : 'site.offline')}
    </Chip>
  );
}

function DeviceRow({ device }: { device: Device }) {
  const [tone, word] = DEVICE[device.state] ?? ['neutral', null];
  return (
    <li className="device">
      <Icon name="device" />
      <span className="grow">
        <strong>{device.name}</strong>
        {device.detail && <span className="soft small device-detail">{device.detail}</span>}
      </span>
      {device.width ? (
        <span className="faint small num">
          {device.width} × {device.height}
          {device.fps ? ` · ${Math.round(device.fps)} fps` : ''}
        </span>
      ) : null}
      <Chip tone={tone} dot>
        {word ? t(word) : device.state}
      </Chip>
    </li>
  );
}

function SpoolLine({ site }: { site: Site }) {
  const waiting = site.spool?.unacknowledged ?? 0;
  if (waiting === 0) return <>{t('site.spool.empty')}</>;
  return <strong className="warn-text">{t('site.spool', { n: waiting, size: bytes(site.spool?.bytes ?? 0) })}</strong>;
}

function Facts({ site, now }: { site: Site; now: number }) {
  const offset = site.clock_offset_ms;
  const clockOff = offset !== null && offset !== undefined && Math.abs(offset) > CLOCK_TOLERANCE_MS;
  return (
    <dl className="site-facts">
      <div>
        <dt>{t('site.last_seen')}</dt>
        <dd>
          {site.last_seen ? (
            <time title={dateTime(site.last_seen)}>{distance(site.last_seen, now)}</time>
          ) : (
            t('site.never')
          )}
        </dd>
      </div>
      <div>
        <dt>{t('site.uploads')}</dt>
        <dd>
          <SpoolLine site={site} />
        </dd>
      </div>
      {offset !== null && offset !== undefined && (
        <div>
          <dt>{t('site.clock')}</dt>
          <dd className={clockOff ? 'num warn-text' : 'num'}>
            {t(clockOff ? 'site.clock.off' : 'site.clock.ok', { n: offset })}
          </dd>
        </div>
      )}
      {site.version && (
        <div>
          <dt>{t('site.version')}</dt>
          <dd className="num">{site.version}</dd>
        </div>
      )}
    </dl>
  );
}

function RevokeDialog({ site, onDone, onClose }: { site: Site; onDone: () => void; onClose: () => void }) {
  const { busy, problem, run } = useAction();
  const revoke = () =>
    run(async () => {
      await api.post(`/api/v1/sites/${encodeURIComponent(site.id)}/revoke`, {});
      onDone();
      onClose();
    });
  return (
    <Dialog title={t('site.revoke.title', { name: site.name })} onClose={onClose}>
      <Notice tone="warn" title={t('site.revoke.what')}>
        {t('site.revoke.text')}
      </Notice>
      {problem && <ProblemNotice problem={problem} />}
      <div className="dialog-actions">
        <Button onClick={onClose}>{t('action.cancel')}</Button>
        <Button variant="danger" busy={busy} onClick={() => void revoke()}>
          {t('site.revoke')}
        </Button>
      </div>
    </Dialog>
  );
}

export function SiteCard({ site, now, onChanged }: { site: Site; now: number; onChanged: () => void }) {
  const [dialog, setDialog] = useState<'enrol' | 'revoke' | null>(null);
  const { busy, problem, run } = useAction();
  const diagnose = () =>
    run(async () => {
      await api.post(`/api/v1/sites/${encodeURIComponent(site.id)}/commands`, { type: 'agent.diagnose', args: {} });
      notify(t('site.diagnose.asked'));
    });
  return (
    <article className="panel site" data-offline={(site.state === 'enrolled' && !site.online) || undefined}>
      <header className="panel-head">
        <span className="grow">
          <h2 className="clip">{site.name}</h2>
          <span className="faint small mono">{site.id}</span>
        </span>
        <StateChip site={site} />
      </header>
      <div className="panel-body stack">
        {site.state === 'enrolled' && !site.online && (
          <Notice tone="warn" title={t('site.offline.title')}>
            {t('site.offline.text')}
          </Notice>
        )}
        {site.state === 'pending' && <Notice>{t('site.pending.text')}</Notice>}
        {site.state === 'enrolled' && <Facts site={site} now={now} />}
        {site.devices.length > 0 && (
          <ul className="devices">
            {site.devices.map((device) => (
              <DeviceRow key={device.id} device={device} />
            ))}
          </ul>
        )}
        {site.state === 'enrolled' && site.devices.length === 0 && (
          <p className="faint small">{t('site.no_devices')}</p>
        )}
        {problem && <ProblemNotice problem={problem} />}
        <div className="row">
          {may('room.view') &&
            site.rooms.map((room) => (
              <Link key={room} className="btn" href={`/rooms/${encodeURIComponent(room)}`}>
                <Icon name="video" />
                {t('site.room', { id: room })}
              </Link>
            ))}
          <span className="grow" />
          {may('site.manage') && site.state === 'enrolled' && (
            <Button icon="info" busy={busy} disabled={!site.online} onClick={() => void diagnose()}>
              {t('site.diagnose')}
            </Button>
          )}
          {may('site.manage') && site.state !== 'revoked' && (
            <>
              <Button icon="keys" onClick={() => setDialog('enrol')}>
                {t('site.new_code')}
              </Button>
              <Button variant="danger" onClick={() => setDialog('revoke')}>
                {t('site.revoke')}
              </Button>
            </>
          )}
        </div>
      </div>
      {dialog === 'enrol' && <EnrolDialog site={site} onClose={() => setDialog(null)} />}
      {dialog === 'revoke' && <RevokeDialog site={site} onDone={onChanged} onClose={() => setDialog(null)} />}
    </article>
  );
}
