/** The room's chat: the last lines and one field. */
import { useEffect, useRef, useState } from 'react';
import { Button } from '@/kit';
import { clock } from '@/lib/when';
import type { RoomSession } from './session';
import { r } from './words';

export function ChatPanel({ session, fieldId }: { session: RoomSession; fieldId: string }) {
  const [text, setText] = useState('');
  const list = useRef<HTMLOListElement>(null);
  const lines = session.chat.value;
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [lines.length]);
  const send = () => {
    const said = text.trim();
    if (said !== '' && session.say(said)) setText('');
  };
  return (
    <section className="side-part chat" aria-labelledby="chat-title">
      <h2 id="chat-title" className="side-title">
        {r('chat')}
      </h2>
      {lines.length === 0 ? (
        <p className="faint small">{r('chat_empty')}</p>
      ) : (
        <ol ref={list} className="lines" aria-live="polite" data-testid="chat">
          {lines.map((line) => (
            <li key={line.id}>
              <span className="line-who">
                {line.name} <time className="num faint">{clock(line.at)}</time>
              </span>
              <span className="line-text">{line.text}</span>
            </li>
          ))}
        </ol>
      )}
      <form
        className="chat-form"
        onSubmit={(event) => {
          event.preventDefault();
          send();
        }}
      >
        <input
          id={fieldId}
          className="input"
          value={text}
          maxLength={2000}
          autoComplete="off"
          aria-label={r('chat_placeholder')}
          placeholder={r('chat_placeholder')}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => event.key === 'Escape' && event.currentTarget.blur()}
        />
        <Button icon="send" label={r('chat_send')} type="submit" disabled={text.trim() === ''} />
      </form>
    </section>
  );
}
