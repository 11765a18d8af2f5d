/** The images that the report points at, rendered by the server; each opens its study. */
import { useEffect, useState } from 'react';
import { Link } from 'wouter';
import { Empty, Icon } from '@/kit';
import { fetchBlob } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import type { KeyImage } from '@/protocol/types';

type Picture = { kind: 'loading' } | { kind: 'ready'; url: string } | { kind: 'missing' };

function renderedPath(image: KeyImage): string {
  const { study_uid, series_uid, sop_instance_uid, frame } = image;
  const instance = `/dicomweb/studies/${study_uid}/series/${series_uid}/instances/${sop_instance_uid}`;
  return `${instance}/frames/${frame ?? 1}/rendered`;
}

function usePicture(path: string): Picture {
  const [picture, setPicture] = useState<Picture>({ kind: 'loading' });
  useEffect(() => {
    const stop = new AbortController();
    let url: string | null = null;
    fetchBlob(path, { signal: stop.signal, headers: { accept: 'image/jpeg' } }).then(
      (blob) => {
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

function Thumbnail({ image, n }: { image: KeyImage; n: number }) {
  const picture = usePicture(renderedPath(image));
  return (
    <li>
      <Link href={`/studies/${encodeURIComponent(image.study_uid)}`} className="key-image">
        {picture.kind === 'ready' ? (
          <img src={picture.url} alt={t('report.image', { n })} />
        ) : (
          <span className="key-image-blank" data-loading={picture.kind === 'loading' || undefined}>
            <Icon name="image" />
            {picture.kind === 'missing' && <span className="small">{t('report.image.missing')}</span>}
          </span>
        )}
        <span className="small soft num">{t('report.image', { n })}</span>
      </Link>
    </li>
  );
}

export function KeyImages({ images }: { images: readonly KeyImage[] }) {
  return (
    <section className="panel" aria-labelledby="images-title">
      <header className="panel-head">
        <h2 id="images-title">{t('report.images')}</h2>
      </header>
      {images.length === 0 ? (
        <Empty icon="image" title={t('report.images.none')}>
          {t('report.images.none.text')}
        </Empty>
      ) : (
        <ul className="key-images">
          {images.map((image, n) => (
            <Thumbnail key={`${image.sop_instance_uid}.${image.frame ?? 1}`} image={image} n={n + 1} />
          ))}
        </ul>
      )}
    </section>
  );
}
