/**
 * The images that the report points at, rendered by the server; each opens its study. While the report is written they
 * can be taken away, and the pictures captured in the consultation's room stand below to be added.
 */
import { useEffect, useState } from 'react';
import { Link } from 'wouter';
import { Button, Empty, Icon, notify } from '@/kit';
import { api, fetchBlob } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { imageId, MOST_KEY_IMAGES, renderedPath, seriesOf } from '@/lib/keyImages';
import { useResource } from '@/lib/resource';
import { may } from '@/lib/roles';
import type { Capture } from '@/lib/rtc/messages';
import { clock } from '@/lib/when';
import type { Consultation, KeyImage, Report } from '@/protocol/types';

type Picture = { kind: 'loading' } | { kind: 'ready'; url: string } | { kind: 'missing' };

function usePicture(path: string): Picture {
  const [picture, setPicture] = useState<Picture>({ kind: 'loading' });
  useEffect(() => {
    const stop = new AbortController();
    let url: string | null = null;
    setPicture({ kind: 'loading' });
    fetchBlob(path, { signal: stop.signal, headers: { accept: 'image/jpeg' } }).then(
      (blob) => {
        if (stop.signal.aborted) return;
        url = URL.createObjectURL(blob);
        setPicture({ kind: 'ready', url });
      },
      () => {
        if (!stop.signal.aborted) setPicture({ kind: 'missing' });
      },
    );
    return () => {
      stop.abort();
      if (url) URL.revokeObjectURL(url);
    };
  }, [path]);
  return picture;
}

function Shown({ image, alt }: { image: KeyImage; alt: string }) {
  const picture = usePicture(renderedPath(image));
  if (picture.kind === 'ready') return <img src={picture.url} alt={alt} />;
  return (
    <span className="key-image-blank" data-loading={picture.kind === 'loading' || undefined}>
      <Icon name="image" />
      {picture.kind === 'missing' && <span className="small">{t('report.image.missing')}</span>}
    </span>
  );
}

function KeyImageRow({ image, n, onRemove }: { image: KeyImage; n: number; onRemove: (() => void) | null }) {
  return (
    <li>
      <Link href={`/studies/${encodeURIComponent(image.study_uid)}`} className="key-image">
        <Shown image={image} alt={t('report.image', { n })} />
        <span className="small soft num">{t('report.image', { n })}</span>
      </Link>
      {onRemove && <Button variant="quiet" icon="close" label={t('report.image.remove', { n })} onClick={onRemove} />}
    </li>
  );
}

/** The stored captures of the consultation's room that the report does not show yet. */
function useCaptures(report: Report): Captured[] {
  const wanted = may('room.view') && may('study.read');
  const { value } = useResource(
    wanted ? `captures of ${report.consultation_id}` : null,
    async (signal) => {
      const path = `/api/v1/consultations/${encodeURIComponent(report.consultation_id)}`;
      const { room_id: roomId } = await api.get<Consultation>(path, { signal });
      if (!roomId) return [];
      const room = await api.get<{ captures?: Capture[] }>(`/api/v1/rooms/${encodeURIComponent(roomId)}`, { signal });
      const stored = (room.captures ?? []).filter((one) => one.state === 'stored');
      const images = await Promise.all(stored.map(imageOf));
      return images.filter((image) => image !== null);
    },
    { on: ['room.captured'] },
  );
  return value ?? [];
}

type Captured = KeyImage & { time: string; kind: Capture['kind'] };

async function imageOf(capture: Capture): Promise<Captured | null> {
  if (!capture.study_uid || !capture.sop_instance_uid) return null;
  const series = await seriesOf(capture.study_uid, capture.sop_instance_uid);
  if (!series) return null;
  return {
    study_uid: capture.study_uid,
    series_uid: series,
    sop_instance_uid: capture.sop_instance_uid,
    frame: 1,
    time: clock(capture.requested_at),
    kind: capture.kind,
  };
}

interface Props {
  report: Report;
  images: readonly KeyImage[];
  /** Null while the report is not being written by this person. */
  onChange: ((images: readonly KeyImage[]) => void) | null;
}

export function KeyImages({ report, images, onChange }: Props) {
  return (
    <section className="panel" aria-labelledby="images-title" data-testid="key-images" data-count={images.length}>
      <header className="panel-head">
        <h2 id="images-title">{t('report.images')}</h2>
      </header>
      {images.length === 0 ? (
        <Empty icon="image" title={t('report.images.none')}>
          {onChange && t('report.images.none.text')}
        </Empty>
      ) : (
        <ul className="key-images">
          {images.map((image, n) => (
            <KeyImageRow
              key={imageId(image)}
              image={image}
              n={n + 1}
              onRemove={onChange && (() => onChange(images.filter((other) => imageId(other) !== imageId(image))))}
            />
          ))}
        </ul>
      )}
      {onChange && <FromTheRoom report={report} images={images} onChange={onChange} />}
    </section>
  );
}

function FromTheRoom({ report, images, onChange }: Props & { onChange: (images: readonly KeyImage[]) => void }) {
  const captures = useCaptures(report);
  const shown = new Set(images.map((image) => image.sop_instance_uid));
  const rest = captures.filter((capture) => !shown.has(capture.sop_instance_uid));
  if (rest.length === 0) return null;
  const add = ({ study_uid, series_uid, sop_instance_uid, frame }: Captured) => {
    if (images.length >= MOST_KEY_IMAGES) return notify(t('key_image.full', { n: MOST_KEY_IMAGES }), 'warn');
    onChange([...images, { study_uid, series_uid, sop_instance_uid, frame: frame ?? 1 }]);
  };
  return (
    <>
      <h3 className="section-label key-images-more">{t('report.images.captured')}</h3>
      <ul className="key-images" data-testid="captured-images">
        {rest.map((capture) => (
          <li key={imageId(capture)}>
            <span className="key-image">
              <Shown image={capture} alt="" />
              <span className="small soft num">{capture.time}</span>
            </span>
            <Button icon="plus" onClick={() => add(capture)} aria-label={t('report.image.add', { time: capture.time })}>
              {t('key_image.add_short')}
            </Button>
          </li>
        ))}
      </ul>
    </>
  );
}
