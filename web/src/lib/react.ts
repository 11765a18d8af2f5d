/**
 * The React API as the client uses it, on Preact's core alone. `react` is aliased to this file: preact/compat would
 * add about 4 kB (compressed) of shims that nothing here needs. To go back to React, drop the alias.
 */
import { Fragment, h, type Attributes, type ComponentChildren, type Ref, type VNode } from 'preact';
import { useLayoutEffect, useState } from 'preact/hooks';

export { cloneElement, Component, createContext, createElement, createRef, Fragment, isValidElement } from 'preact';
export * from 'preact/hooks';
export { useLayoutEffect as useInsertionEffect } from 'preact/hooks';
export type { ComponentChildren, ComponentType, JSX, VNode } from 'preact';

// The types by which libraries written for React (wouter) describe themselves.
export type {
  AnchorHTMLAttributes,
  ComponentChildren as ReactNode,
  ComponentType as JSXElementConstructor,
  FunctionComponent,
  MouseEventHandler,
  VNode as ReactElement,
} from 'preact';

export type RefAttributes<T> = Attributes & { ref?: Ref<T> };

/** Pass the ref to a function component as its second argument; Preact 11 hands it over as a plain prop. */
export function forwardRef<R, P extends object>(
  draw: (props: P, ref: Ref<R>) => ComponentChildren,
): (props: P & { ref?: Ref<R> }) => VNode {
  return (props) => h(Fragment, null, draw(props, props.ref ?? null));
}

/** Read an outside store; draws again when its snapshot changes. */
export function useSyncExternalStore<T>(subscribe: (changed: () => void) => () => void, snapshot: () => T): T {
  const value = snapshot();
  const [{ held }, set] = useState({ held: { value, snapshot } });
  useLayoutEffect(() => {
    held.value = value;
    held.snapshot = snapshot;
    if (!Object.is(held.value, held.snapshot())) set({ held });
  }, [subscribe, value, snapshot]);
  useLayoutEffect(() => {
    const check = () => {
      if (!Object.is(held.value, held.snapshot())) set({ held });
    };
    check();
    return subscribe(check);
  }, [subscribe]);
  return value;
}
