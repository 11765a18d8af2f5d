/** The rooms that are open now: site, modality, who waits and how long; join. */
import { Link } from 'wouter';
import { Empty, Icon, Skeleton } from '@/kit';
import { Modality, RoomChip } from '@/kit/WorkChips';
import { api } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { useNow } from '@/lib/now';
import { useResource } from '@/lib/resource';
import { may } from '@/lib/roles';
import { howLong } from '@/lib/when';
import type { Page, Room, RoomState } from '@/protocol/types';
import { useReloadTurn } from './rows';
import { Trouble } from './Trouble';

const ORDER: Record<RoomState, number> = { live: 0, lobby: 1, paused: 2, planned: 3, ended: 4 };

/** Open rooms first by state, then by who has waited longest. */
export function openRooms(rooms: readonly Room[]): Room[] {
  return rooms
    .filter((room) => room.state !== 'ended')
    .sort((a, b) => ORDER[a.state] - ORDER[b.state] || (a.waiting_since ?? '~').localeCompare(b.waiting_since ?? '~'));
}

/** A room waits until its picture has started, whatever the server still remembers of the waiting. */
const waits = (room: Room) => room.waiting_since && room.state !== 'live' && room.state !== 'paused';

export function roomLine(room: Room, now: number): string {
  if (room.waiting_since && waits(room)) return t('live.waits', { how_long: howLong(room.waiting_since, now) });
  if (room.started_at) return t('live.started', { how_long: howLong(room.started_at, now) });
  return t('live.not_started');
}

function RoomCard({ room, now }: { room: Room; now: number }) {
  return (
    <li className="room-card panel" data-live={room.state === 'live' || undefined}>
      <div className="row">
        {room.modality && <Modality code={room.modality} />}
        <RoomChip state={room.state} />
        <span className="grow" />
        <span className="faint small num row">
          <Icon name="user" />
          <span>{t('live.people', { n: room.participants })}</span>
        </span>
      </div>
      <div>
        <h3 className="clip">{room.title}</h3>
        <p className="soft small clip">{room.site_name ?? t('live.no_site')}</p>
      </div>
      <div className="row room-foot">
        <span className="small grow" data-waiting={waits(room) ? '' : undefined}>
          <Icon name="clock" />
          {roomLine(room, now)}
        </span>
        {may('room.view') && (
          <Link
            href={`/rooms/${encodeURIComponent(room.id)}`}
            className={room.state === 'planned' ? 'btn' : 'btn btn-primary'}
            data-row
            aria-label={t('live.join_room', { room: room.title })}
          >
            <Icon name="video" />
            {t('live.join')}
          </Link>
        )}
      </div>
    </li>
  );
}

function SkeletonCards() {
  return (
    <ul className="room-grid" aria-busy="true" aria-label={t('state.loading')}>
      {[0, 1, 2].map((n) => (
        <li key={n} className="room-card panel">
          <Skeleton share={40} />
          <Skeleton share={70} />
          <Skeleton share={55} />
        </li>
      ))}
    </ul>
  );
}

export function LiveNow({ reloadTurn }: { reloadTurn: number }) {
  const now = useNow();
  const { resource, value, reload } = useResource(
    'rooms',
    (signal) => api.get<Page<Room>>('/api/v1/rooms', { signal }),
    {
      on: ['room.changed'],
      remember: true,
    },
  );
  useReloadTurn(reloadTurn, reload);
  const rooms = openRooms(value?.items ?? []);
  return (
    <section id="live" aria-labelledby="live-title" tabIndex={-1}>
      <header className="section-head">
        <h2 id="live-title">{t('live.title')}</h2>
        {value && <span className="count num">{rooms.length}</span>}
      </header>
      <Trouble resource={resource} onRetry={reload} />
      {!value && resource.kind === 'loading' && <SkeletonCards />}
      {value && rooms.length > 0 && (
        <ul className="room-grid">
          {rooms.map((room) => (
            <RoomCard key={room.id} room={room} now={now} />
          ))}
        </ul>
      )}
      {value && rooms.length === 0 && (
        <div className="panel">
          <Empty icon="live" title={t('live.empty')}>
            {t('live.empty.text')}
          </Empty>
        </div>
      )}
    </section>
  );
}
