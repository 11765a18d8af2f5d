/** Two texts as one, with what went and what came marked by colour, line and (for screen readers) element. */
import { wordDiff } from '@/lib/diff';
import { t } from '@/lib/i18n/app';

export function DiffText({ before, after }: { before: string; after: string }) {
  if (before === '' && after === '') return <p className="faint small">{t('report.section.empty')}</p>;
  return (
    <p className="diff">
      {wordDiff(before, after).map((piece, n) => {
        switch (piece.kind) {
          case 'same':
            return <span key={n}>{piece.text}</span>;
          case 'added':
            return <ins key={n}>{piece.text}</ins>;
          case 'removed':
            return <del key={n}>{piece.text}</del>;
        }
      })}
    </p>
  );
}
