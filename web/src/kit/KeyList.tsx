/** A list of keys with what each does; a row may name several keys to be pressed one after the other. */
import { Kbd } from './base';
import './keys.css';

export function KeyList({ rows }: { rows: readonly (readonly [keys: readonly string[], meaning: string])[] }) {
  return (
    <dl className="keys">
      {rows.flatMap(([keys, meaning]) => [
        <dt key={`${meaning}-keys`}>
          {keys.map((key) => (
            <Kbd key={key}>{key}</Kbd>
          ))}
        </dt>,
        <dd key={meaning}>{meaning}</dd>,
      ])}
    </dl>
  );
}
